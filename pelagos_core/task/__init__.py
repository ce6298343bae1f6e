"""Containers and their processes, as containerd's task API sees them."""
