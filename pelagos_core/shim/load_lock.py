"""A lock: one `start` at a time loads the zygote; the others wait up to three seconds. Lean.

After a reboot all pods of a node start at once. Without the lock each `start` would load all modules and slow down
the others.
"""

import fcntl
import os
import time

from pelagos_core.shim.unix_socket import Lock

SECONDS = 3.0  # how long others wait for a holder; loading takes half a second on an idle host
NOT_HELD = -1

_RETRY_SECONDS = 0.005
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def take(path: str, seconds: float) -> int:
    """Take the lock for the zygote at `path`; wait for its holder.

    seconds: how long a holder may keep the lock before others stop waiting.
    Returns a descriptor that holds the lock until every process that has inherited it has closed it; NOT_HELD if the
    lock was not available. After waiting there may be a zygote.
    """
    while True:
        try:
            with Lock(path):
                lock = os.open(_file(path), _FLAGS, 0o600)
        except OSError:
            return NOT_HELD
        if not _acquired(lock, seconds):
            os.close(lock)
            return NOT_HELD
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)  # the previous holder has removed this file: lock the new one


def end(path: str, lock: int) -> None:
    """Release the lock: there is a zygote, or there will be none. Waiting processes continue."""
    if lock == NOT_HELD:
        return
    try:
        os.unlink(_file(path))
    except OSError:
        pass
    os.close(lock)


def _acquired(lock: int, seconds: float) -> bool:
    """Lock the file, and set its time to now. Returns False if its holder keeps the lock for `seconds` or more."""
    try:
        while not _try_lock(lock):
            if not 0 <= time.time() - os.fstat(lock).st_mtime < seconds:
                return False
            time.sleep(_RETRY_SECONDS)
        os.utime(lock)
    except OSError:
        return False
    return True


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file(path: str) -> str:
    return f"{path}.lock"
