"""The init process of a container: what isolates it, and what it does."""
