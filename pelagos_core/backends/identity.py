"""What tells a backend apart from any that might answer otherwise: a digest, the same in every process."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from collections.abc import Mapping, Set


def origin(module: object, settings: Mapping[str, object]) -> str:
    """What tells this backend apart from one of the same version: other settings, or an edited file with its hooks."""
    name = module.__name__ if isinstance(module, types.ModuleType) else type(module).__module__
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    try:
        status = os.stat(path)
    except OSError:  # not from a file of its own
        return digest_of((path, settings))
    return digest_of((path, status.st_ino, status.st_size, status.st_mtime_ns, settings))


def digest_of(value: object) -> str:
    """A digest of plain values; sets have an order then, which is the same in every process."""

    def plain(other: object) -> object:
        return sorted(map(str, other)) if isinstance(other, Set) else str(other)

    return hashlib.sha256(json.dumps(value, sort_keys=True, default=plain).encode()).hexdigest()
