"""The plan of a process' isolation: its steps as data, and how each is carried out."""
