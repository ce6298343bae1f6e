"""Containers and their processes, as containerd's task API sees them."""

NAMES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
"""The full names of the service; the messages are the same."""

INSPECTION = "pelagos.v1.Inspection"
"""The full name of pelagos' own service, for data that containerd's API has no field for."""
