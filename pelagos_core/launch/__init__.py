"""The launch of a process, from the request to a process that waits for Start: nursery, init process, messages."""
