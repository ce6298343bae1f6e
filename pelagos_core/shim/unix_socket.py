"""Unix sockets at a path: the lock, the check for a listener, binding. Lean."""

import _socket
import errno
import fcntl
import os

try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # private, so not in typeshed
except ImportError:  # before Python 3.12
    from _sha256 import sha256  # type: ignore[import-not-found]  # as above

BACKLOG = 512
MAX_PATH = 107  # unix(7): sun_path, without its NUL


def name_of(key: str) -> str:
    """The file name of a socket for a key of any length: 64 characters."""
    return str(sha256(key.encode("utf-8", "surrogateescape")).hexdigest())


class Lock:
    """The lock to hold while a socket is looked up, bound or removed.

    It locks the directory itself (flock(2)), so that no lock file is left. The kernel releases it when the holder
    exits.
    """

    def __init__(self, path: str) -> None:
        """Wait for the lock. path: of a socket; its directory is created if it is missing."""
        parent = os.path.dirname(path)
        try:
            self._fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            umask = os.umask(0o077)  # holds for intermediate directories too
            try:
                os.makedirs(parent, 0o700, exist_ok=True)
            finally:
                os.umask(umask)
            self._fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "Lock":
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def is_served(path: str) -> bool:
    """Whether a process listens on the socket at `path`."""
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except OSError as error:
        # unix(7): a full backlog, or a listener of another type. There is a listener in both cases.
        return error.errno in (errno.EAGAIN, errno.EPROTOTYPE)
    finally:
        probe.close()
    return True


def identity(path: str) -> "tuple[int, int]":
    """The device and inode of the socket at `path`; zeros if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def listen(path: str, kind: int = _socket.SOCK_STREAM) -> "_socket.socket":
    """Bind and listen at `path`; replace the socket of a dead process. The caller holds the Lock.

    The socket is created with mode 0600 by the umask, so it never has another mode.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    umask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(umask)
    listener.listen(BACKLOG)
    return listener
