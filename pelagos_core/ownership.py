"""Checks the owner and the permissions of a file: a file that pelagos trusts must not be writable by other users.

`shim/record.py` does not use it: that module may import only its own package and the errors.
"""

from __future__ import annotations

import os

_WRITE_OF_OTHERS = 0o022
_ALL_OF_OTHERS = 0o077


def is_written_by(status: os.stat_result, *owners: int, secret: bool = False) -> bool:
    """Whether a file belongs to one of these users, and no other user can write it.

    status: of an open descriptor; a path could refer to another file when it is opened later.
    owners: numeric user ids. secret: whether no other user may read it either.
    """
    return status.st_uid in owners and not status.st_mode & (_ALL_OF_OTHERS if secret else _WRITE_OF_OTHERS)
