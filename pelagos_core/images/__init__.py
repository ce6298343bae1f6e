"""Container images: what `pelagos pack` writes, and what the shim reads of a Wasm artifact from containerd."""
