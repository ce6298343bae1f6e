"""The program that serves one pod: its start, its services, and the records of `pelagos run`."""
