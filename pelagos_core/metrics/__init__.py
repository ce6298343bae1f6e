"""Metrics of the node for Prometheus: the metric families, and the file in which daemons count."""
