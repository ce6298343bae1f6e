"""`start`: find or make the daemon of a container's group and print its address. Lean.

The socket is bound and listening before the address is printed, so that containerd's only
attempt to connect succeeds while the daemon is still being made: by the zygote, which forks
it, or by executing everything anew, which takes a hundred times as long and leaves a zygote.
"""

import _socket
import fcntl
import os
import sys

from pelagos_core.shim import load_lock, zygote_client, zygote_request
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.group import group_in
from pelagos_core.shim.identifier import check_id
from pelagos_core.shim.unix_socket import Lock, is_served, listen

LISTENER_FD, TURN_FD = 3, 4
PROGRAM = "containerd-shim-wasm-v1"  # what `ps` shows of a daemon
_FIRST_FREE = TURN_FD + 1
_BIRTH = "from pelagos_core.daemon.program import main; main()"


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
                _make_daemon(_words(flags, path), path, listener)
            except BaseException:
                os.unlink(path)
                raise
    address = f"unix://{path}".encode()
    _write_address(address)
    return address


def _write_address(address: bytes) -> None:
    """Leave the address for containerd 1.6 and 1.7, which read it when they restart."""
    fd = os.open(".address", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, address)
    os.close(fd)
    os.rename(".address", "address")


def _words(flags: Flags, path: str) -> "list[str]":
    """The daemon's command line."""
    words = [PROGRAM, "-namespace", flags.namespace, "-id", flags.id, "-address", flags.address, "-socket", path]
    words += ["-owner", flags.owner] if flags.owner else []
    return [*words, "-debug"] if flags.debug else words


def _make_daemon(words: "list[str]", path: str, listener: "_socket.socket") -> None:
    log = _log_fd()
    zygote = zygote_request.socket_path()
    if not zygote:
        _spawn(["", "", *words], (listener.fileno(), load_lock.NOBODYS, log))
        return
    request = zygote_client.inheritance(zygote_request.Request(words, _environment()))
    answer, ours = _ask(zygote, request, (listener.fileno(), log))
    if answer == zygote_client.ABSENT:
        _spawn([zygote, "", *words], (listener.fileno(), ours, log))
    elif answer == zygote_client.FAILED:
        # One that hangs may hold our listener, which then would go on to listen whatever
        # becomes of the daemon. So the path gets another, before anybody has been told of it.
        listener = listen(path)
        _spawn([zygote, "replace", *words], (listener.fileno(), ours, log))
    else:
        load_lock.end(zygote, ours)


def _ask(zygote: str, request: zygote_request.Request, fds: "tuple[int, int]") -> "tuple[str, int]":
    """What the zygote answers, and our turn to load one if there is none.

    One that is being loaded is waited for: we would have to load the same.
    """
    answer = zygote_client.ask(zygote, request, fds)
    if answer == zygote_client.STARTED:
        return answer, load_lock.NOBODYS
    if answer == zygote_client.FAILED:
        return answer, load_lock.take(zygote, 0)
    ours = load_lock.take(zygote, load_lock.SECONDS)
    return zygote_client.ask(zygote, request, fds), ours


def _spawn(words: "list[str]", fds: "tuple[int, int, int]") -> None:
    """Execute everything anew and return at once.

    It is a grandchild, so that nobody has to reap it; its streams are not ours, since
    containerd waits for the end of both of them.
    fds: the listener, the turn to load a zygote, and the log.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _exec(words, fds)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _exec(words: "list[str]", fds: "tuple[int, int, int]") -> None:
    null = os.open(os.devnull, os.O_RDWR)
    # Duplicated above the targets first, so that none is overwritten before it is copied.
    listener, ours, log = (fcntl.fcntl(null if fd < 0 else fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for fd in fds)
    for target, source in ((0, null), (1, null), (2, log), (LISTENER_FD, listener), (TURN_FD, ours)):
        os.dup2(source, target, inheritable=True)
    os.chdir("/")  # the bundle is removed while the daemon lives
    zygote_client.set_oom_score_adj(zygote_client.shim_oom_score_adj())
    os.execve(sys.executable, [sys.executable, "-I", "-c", _BIRTH, *words], _environment())


def _log_fd() -> int:
    try:
        # O_NONBLOCK: without containerd the FIFO has no reader, and opening would wait.
        return os.open("log", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _environment() -> "dict[str, str]":
    """containerd's environment may hold credentials, and the init processes are our copies."""
    kept = ("PATH", "TTRPC_ADDRESS", "PELAGOS_SOCKET_DIR", "PELAGOS_CONFIG", "PELAGOS_CACHE_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ}
