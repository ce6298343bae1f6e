"""The cache: compiled code, the processes that compile, and the records of known modules."""
