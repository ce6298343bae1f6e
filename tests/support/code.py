"""Puts compiled code into a store without an engine, for the tests of the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pelagos_core.cache.entry import About
from pelagos_core.cache.key import Key
from pelagos_core.cache.store import Store

CODE = b"compiled" * 1000


def about(name: str = "m", code: bytes = CODE) -> About:
    """The description of a piece of code. name: the module's digest in the key."""
    return About(Key(name, "b 1", "E 1", "", "cpu"), f"/{name}.wasm", len(code), hashlib.sha256(code).hexdigest(), 1)


def keep(store: Store, name: str = "m", code: bytes = CODE) -> str:
    """Put a piece of code into a store; return its entry's name."""
    known = about(name, code)
    memory = os.memfd_create("code")
    os.write(memory, code)
    store.lock(known.key.name)
    os.close(store.keep(known, memory))
    os.close(memory)
    return known.key.name


def read(directory: int | None) -> bytes | None:
    """The code in a lent directory, which is then closed; None if there is no directory."""
    if directory is None:
        return None
    try:
        with open("code", "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=directory)) as file:
            return file.read()
    finally:
        os.close(directory)


def entry(path: Path) -> Path:
    """The directory of the only entry in a store."""
    (found,) = (each for each in path.iterdir() if each.name not in ("lock", "known"))
    return found
