"""The conformance kit for engine authors: tests that every backend must pass, and the tools to run them."""
