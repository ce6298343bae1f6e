"""A container's root file system: its mounts, devices and links, with paths resolved inside the root."""
