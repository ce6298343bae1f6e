"""The socket of a group's daemon: its path, and finding or making the listener. Lean."""

import _socket
import errno
import fcntl
import os

from pelagos_core.errors import InvalidArgument

try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # private, so not in typeshed
except ImportError:  # before Python 3.12
    from _sha256 import sha256  # type: ignore[import-not-found]  # as above

# containerd's convention; a build constant there too, whatever its own root is.
DIRECTORY = "/run/containerd/s"
BACKLOG = 512
_MAX_PATH = 107  # unix(7): sun_path, without its NUL


def directory() -> str:
    """Where sockets are: containerd's place, or the one that PELAGOS_SOCKET_DIR names."""
    return os.environ.get("PELAGOS_SOCKET_DIR") or DIRECTORY


def socket_path(address: str, namespace: str, group: str) -> str:
    """The path of a group's socket: a hash, so that ids of any length fit.

    Raises InvalidArgument if PELAGOS_SOCKET_DIR is too long for a socket in it.
    """
    key = f"{address.removeprefix('unix://')}/{namespace}/{group}"
    path = f"{directory()}/{sha256(key.encode()).hexdigest()}"
    if len(os.fsencode(path)) > _MAX_PATH:
        raise InvalidArgument(f"socket path {path!r}: over {_MAX_PATH} bytes")
    return path


class Lock:
    """Held while a socket is looked for, made or removed: racing starts take turns.

    A lock on the directory itself, so that no file is left behind and a dead holder's lock
    is gone with it.
    """

    def __init__(self, path: str) -> None:
        """path: a socket's path; its directory is made if it is missing."""
        parent = os.path.dirname(path)
        try:
            self._fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            os.makedirs(parent, 0o700, exist_ok=True)
            self._fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "Lock":
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def is_served(path: str) -> bool:
    """Whether a daemon listens on the socket at `path`."""
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except OSError as error:
        return error.errno == errno.EAGAIN  # unix(7): a full backlog, so somebody listens
    finally:
        probe.close()
    return True


def listen(path: str) -> "_socket.socket":
    """Bind and listen at `path`, replacing the socket of a dead daemon. Hold the Lock.

    The socket is made with mode 0600, not given it later.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    umask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(umask)
    listener.listen(BACKLOG)
    return listener
