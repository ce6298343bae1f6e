"""Standard streams of a process: where they lead, what holds them open, and how they end."""
