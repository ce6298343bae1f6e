"""The compiled library that carries plans out: what it can do, how a plan is written for it, and its processes."""
