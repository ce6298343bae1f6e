"""Compiled code that is kept: its keys, the store, and the processes that compile."""
