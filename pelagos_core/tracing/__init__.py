"""OpenTelemetry traces of a daemon: where spans begin and end, and how they leave the node."""
