"""Whose turn it is to load a zygote: one `start` at a time does, and the others wait for it a while. Lean.

After a reboot all pods of a node start at once. Each would load everything by itself, which takes
the longer the more of them do.
"""

import fcntl
import os
import time

from pelagos_core.shim.unix_socket import Lock

SECONDS = 3.0  # of a turn; loading takes half of one where nothing else happens
NOBODYS = -1

_RETRY_SECONDS = 0.005
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def take(path: str, seconds: float) -> int:
    """Take the turn for the zygote at `path`, after whoever has it.

    seconds: from the beginning of another's turn; after that nobody waits for it.
    Returns a descriptor that holds the turn, for whoever inherits it too, until all of them have
    closed it; NOBODYS if it could not be had. Whoever had it before may have left a zygote.
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
        os.close(turn)  # the one before us has ended and removed it: another one counts now


def end(path: str, turn: int) -> None:
    """There is a zygote, or there will be none. Whoever waits goes on."""
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
