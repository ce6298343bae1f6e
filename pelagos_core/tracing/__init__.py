"""OpenTelemetry traces of a daemon: how spans are created and exported."""
