"""The Wasmtime backend of pelagos."""
