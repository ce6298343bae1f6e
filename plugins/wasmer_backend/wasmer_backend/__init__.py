"""The Wasmer backend of pelagos."""
