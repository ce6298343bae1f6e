"""The configuration of a node: the config file, policies, and runtime options of containerd."""
