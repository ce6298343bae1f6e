"""The program that serves one pod: how it starts, what it serves, and its records."""
