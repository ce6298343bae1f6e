"""The lines of /proc/PID/mountinfo: the mounts of a process' namespace.

Source: proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPED = re.compile(rb"\\([0-7]{3})")  # a space is written as \040


class MountLine(NamedTuple):
    """One mount.

    root: the mounted part of its file system. path: the mount point. type: of the file system. options: of the
    file system, such as a hierarchy's controllers.
    """

    root: str
    path: str
    type: str
    options: frozenset[str]


def parse(text: bytes, holding: bytes = b"") -> Iterator[MountLine]:
    """Parse a text; yield its mounts in order.

    holding: skip lines that do not contain these bytes. Raises ValueError for a malformed text.
    """
    for line in text.split(b"\n"):  # not splitlines(): a path may contain other line ends
        if not line or holding not in line:
            continue
        fields, _, file_system = line.partition(b" - ")
        _number, _parent, _device, root, place = fields.split(b" ", 5)[:5]
        kind, _source, options = file_system.split(b" ", 2)
        yield MountLine(
            os.fsdecode(unescaped(root)),
            os.fsdecode(unescaped(place)),
            kind.decode(),
            frozenset(os.fsdecode(options).split(",")),
        )


def unescaped(field: bytes) -> bytes:
    """Decode the escapes of a field, such as a path."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field) if b"\\" in field else field
