"""The kit's tests of WASI 0.1: a guest calls each of the 46 functions, and the results are compared exactly."""
