"""From a request to a process that waits for Start: the nursery, the init process, and what they say to the daemon."""
