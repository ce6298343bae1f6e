"""The host's side of backends: which are installed, how they are asked, and which one is chosen."""
