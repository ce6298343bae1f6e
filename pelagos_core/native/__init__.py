"""The compiled library that executes plans: its operations, the encoding of plans, and calls in this process."""
