"""A container's root file system: its mounts, devices and links, made and resolved inside the root."""
