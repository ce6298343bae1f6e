"""What is kept: compiled code, with the processes that compile, and what is known of modules."""
