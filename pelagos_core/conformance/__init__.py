"""The kit for engine authors: what every backend must do, and how to try it."""
