"""The WasmEdge backend of pelagos."""
