"""The host's side of backends: discovery, calls of their hooks, and the choice of one."""
