"""Standard streams of a process: targets, the descriptors that keep them open, and their end."""
