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

    root: which part of its file system is shown at `path`. type: the file system's. options: the file
    system's own, such as a hierarchy's controllers.
    """

    root: str
    path: str
    type: str
    options: frozenset[str]


def parse(text: bytes, holding: bytes = b"") -> Iterator[MountLine]:
    """The mounts of a text, in its order.

    holding: lines without these bytes are passed over unread. Raises ValueError for what is no mountinfo.
    """
    for line in text.split(b"\n"):  # a path may have other line ends in it
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
    """A path as it is, of a field of such a line."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field) if b"\\" in field else field
