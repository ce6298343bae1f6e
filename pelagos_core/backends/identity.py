"""Digests that identify a backend with its settings and code. They are equal in all processes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from collections.abc import Mapping, Set


def origin(module: object, settings: Mapping[str, object]) -> str:
    """A digest of a backend's settings and of the inode, size and time of the file with its hooks.

    The version is not enough: an edited backend may keep it.
    """
    name = module.__name__ if isinstance(module, types.ModuleType) else type(module).__module__
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    try:
        status = os.stat(path)
    except OSError:  # a module without a file
        return digest_of((path, settings))
    return digest_of((path, status.st_ino, status.st_size, status.st_mtime_ns, settings))


def digest_of(value: object) -> str:
    """A digest of plain values; sets are sorted, so it is equal in all processes."""

    def plain(other: object) -> object:
        return sorted(map(str, other)) if isinstance(other, Set) else str(other)

    return hashlib.sha256(json.dumps(value, sort_keys=True, default=plain).encode()).hexdigest()
