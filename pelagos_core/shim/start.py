"""`start`: find or make the daemon of a container's group and print its address. Lean.

The socket is bound and listening before the address is printed, so that containerd's only
attempt to connect succeeds while the daemon's interpreter is still starting.
"""

import os
import sys

from pelagos_core.identifier import check_id
from pelagos_core.shim.address import Lock, is_served, listen, socket_path
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.group import group_in

LISTENER_FD = 3
_DAEMON = "from pelagos_core.shim.daemon import main; main()"


def start(flags: Flags) -> bytes:
    """Return the address to print. In the `start` process, whose cwd is the bundle.

    Raises PelagosError or OSError.
    """
    check_id(flags.id)
    check_id(flags.namespace, "namespace")
    path = socket_path(flags.address, flags.namespace, group_in(".", flags.id))
    with Lock(path):
        if not is_served(path):
            listener = listen(path)
            try:
                _spawn_daemon(flags, path, listener.fileno())
            except BaseException:
                os.unlink(path)
                raise
    address = f"unix://{path}".encode()
    _write_address(address)
    return address


def _write_address(address: bytes) -> None:
    """Leave the address for containerd 1.6 and 1.7, which read it when they restart."""
    with open(".address", "wb") as file:
        file.write(address)
    os.rename(".address", "address")


def _spawn_daemon(flags: Flags, path: str, listener: int) -> None:
    """Start the daemon and return at once.

    It is a grandchild, so that nobody has to reap it; its streams are not ours, since
    containerd waits for the end of both of them.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _exec_daemon(flags, path, listener)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _exec_daemon(flags: Flags, path: str, listener: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    log = _log_fd(null)
    os.dup2(listener, LISTENER_FD, inheritable=True)
    for target, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, target, inheritable=True)
    os.chdir("/")  # the bundle is removed while the daemon lives
    words = [sys.executable, "-I", "-c", _DAEMON]
    words += ["-namespace", flags.namespace, "-id", flags.id, "-address", flags.address, "-socket", path]
    words += ["-debug"] if flags.debug else []
    os.execve(sys.executable, words, _environment())


def _log_fd(fallback: int) -> int:
    try:
        # O_NONBLOCK: without containerd the FIFO has no reader, and opening would wait.
        return os.open("log", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return fallback


def _environment() -> "dict[str, str]":
    """containerd's environment may hold credentials, and the init processes are our copies."""
    kept = ("PATH", "TTRPC_ADDRESS", "PELAGOS_SOCKET_DIR", "PELAGOS_CONFIG")
    return {name: os.environ[name] for name in kept if name in os.environ}
