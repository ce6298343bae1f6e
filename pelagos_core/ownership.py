"""Whose a file is, by its status: files that are acted on must not be another user's to write.

Not used by `shim/record.py`, which imports its own room and the errors alone.
"""

from __future__ import annotations

import os

_WRITE_OF_OTHERS = 0o022
_ALL_OF_OTHERS = 0o077


def is_written_by(status: os.stat_result, *owners: int, secret: bool = False) -> bool:
    """Whether the owner of a file is one of these users, and no other user can write it.

    owners: numeric user ids. secret: no other user may read it either.
    The status must be of an open descriptor: a path may lead elsewhere by the time it is opened.
    """
    return status.st_uid in owners and not status.st_mode & (_ALL_OF_OTHERS if secret else _WRITE_OF_OTHERS)
