"""A lock: one `start` at a time loads the zygote; the others wait up to three seconds. Lean.

After a reboot all pods of a node start at once. Without the lock each `start` would load everything,
and slow the others down.
"""

import fcntl
import os
import time

from pelagos_core.shim.unix_socket import Lock

SECONDS = 3.0  # that a holder may take; loading takes half a second on an idle host
NOBODYS = -1

_RETRY_SECONDS = 0.005
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def take(path: str, seconds: float) -> int:
    """Take the lock for the zygote at `path`; wait for its holder.

    seconds: how long a holder may keep the lock before others stop waiting.
    Returns a descriptor that holds the lock until every process that has inherited it has closed it;
    NOBODYS if the lock was not available. After waiting there may be a zygote.
    """
    while True:
        try:
            with Lock(path):
                turn = os.open(_file(path), _FLAGS, 0o600)
        except OSError:
            return NOBODYS
        if not _is_held(turn, seconds):
            os.close(turn)
            return NOBODYS
        if os.fstat(turn).st_nlink:
            return turn
        os.close(turn)  # the previous holder has removed this file: lock the new one


def end(path: str, turn: int) -> None:
    """Release the lock: there is a zygote, or there will be none. Waiting processes go on."""
    if turn == NOBODYS:
        return
    try:
        os.unlink(_file(path))
    except OSError:
        pass
    os.close(turn)


def _is_held(turn: int, seconds: float) -> bool:
    try:
        while not _is_our_lock(turn):
            if not 0 <= time.time() - os.fstat(turn).st_mtime < seconds:
                return False
            time.sleep(_RETRY_SECONDS)
        os.utime(turn)
    except OSError:
        return False
    return True


def _is_our_lock(turn: int) -> bool:
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file(path: str) -> str:
    return f"{path}.turn"
