"""The ttrpc protocol: frames, connections, services."""
