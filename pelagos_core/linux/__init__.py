"""What the kernel offers, one module for each of its nouns."""
