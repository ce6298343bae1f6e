"""The core of pelagos: containerd's protocol, processes and isolation, without any engine.

This module must import nothing: `containerd-shim-… start` imports it.
"""

__version__ = "0.1.1.dev0"
