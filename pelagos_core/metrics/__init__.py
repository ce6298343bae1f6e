"""Figures of the whole node for Prometheus: what is counted, and the file in which daemons count."""
