"""The config file with which pelagos finds the engines that pip does not provide."""

from __future__ import annotations

import subprocess

from scripts import engines

_WASMEDGE = "libwasmedge.so.0"


def text(*, has_wasmedge: bool) -> str:
    """The text of the file.

    has_wasmedge: whether the machine has WasmEdge's library, which is then used embedded, as on a node. Otherwise the
    program of `make engines` is used: its library may need a newer C library than the machine's.
    """
    tables = engines.config().split("\n\n")
    return "\n\n".join(table for table in tables if not (has_wasmedge and table.startswith("[backends.wasmedge]")))


def has_wasmedge() -> bool:
    """Whether the dynamic linker finds WasmEdge's library (ldconfig(8))."""
    return _WASMEDGE in subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
