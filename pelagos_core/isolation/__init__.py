"""The plan of a process' isolation: its steps as data, and their execution."""
