"""What containerd executes, and the daemon that it starts."""
