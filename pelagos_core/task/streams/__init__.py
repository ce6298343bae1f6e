"""Standard streams of a process: their targets, and the descriptors that keep them open until they are read."""
