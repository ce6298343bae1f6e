"""The core of pelagos: containerd's protocol, processes and isolation, and no engine.

Importing the package must cost nothing: `containerd-shim-… start` runs through here.
"""

__version__ = "0.1.0"
