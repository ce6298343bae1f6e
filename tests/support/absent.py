"""A path of the host at which there is nothing."""

ABSENT = "/proc/absent"
"""Nothing can be made there either: /proc has only what the kernel shows."""
