"""Container images: the writer for `pelagos pack`, and the shim's reader of Wasm artifacts in containerd's store."""
