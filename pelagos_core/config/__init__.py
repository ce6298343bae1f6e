"""What an operator sets for a node: the config file, its policies, and options of containerd."""
