"""The key of compiled code: a digest of the module, the engine, its settings and the processor."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from dataclasses import astuple, dataclass

_FORMAT = 1  # of an entry; part of the key, so entries of another format are not found
_CPUINFO_BYTES = 64 << 10  # covers the first processor; a large machine lists hundreds
_FEATURES = ("flags", "Features", "isa")  # the names in /proc/cpuinfo on x86, arm64 and riscv


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one entry.

    module: sha256 of the entry point's bytes. backend: its name and its package's version.
    engine: the engine and its version. settings: of the backend, such as a limit that
    changes the code. cpu: the machine, and a digest of its processor's features.
    """

    module: str
    backend: str
    engine: str
    settings: str
    cpu: str

    @property
    def name(self) -> str:
        """The entry's name in the store: a digest of all fields, in hex."""
        return hashlib.sha256(json.dumps([_FORMAT, *astuple(self)]).encode()).hexdigest()


@functools.cache
def cpu() -> str:
    """The machine and a digest of its processor's features from /proc/cpuinfo."""
    with open("/proc/cpuinfo", "rb") as file:
        return f"{platform.machine()} {features(file.read(_CPUINFO_BYTES).decode('ascii', 'replace'))}"


def features(cpuinfo: str) -> str:
    """A short digest of the first processor's features in the text of /proc/cpuinfo."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    words = next((value.split() for name, _, value in lines if name.strip() in _FEATURES), [])
    return hashlib.sha256(" ".join(sorted(words)).encode()).hexdigest()[:16]
