"""System calls, child processes, and data about processes in /proc, for all rooms."""
