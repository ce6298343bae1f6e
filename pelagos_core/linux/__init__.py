"""Calls of the kernel that any of our processes makes, and what it reports of processes."""
