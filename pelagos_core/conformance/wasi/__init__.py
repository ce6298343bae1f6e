"""The kit's tests of WASI 0.1: each of its 46 functions, called by a guest, with exact results."""
