"""`start`: find or create the daemon of a container's group and print its address. Lean.

If there is a zygote, it forks the daemon. Else `start` executes a program that loads all modules, which takes a hundred
times as long; that program forks a zygote for later starts. The socket is bound and listening before the address is
printed, so that containerd's only attempt to connect succeeds while the daemon is still loading.
"""

import fcntl
import os
import sys

from pelagos_core.shim import load_lock, zygote_client, zygote_request
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.group import group_in
from pelagos_core.shim.identifier import check_id
from pelagos_core.shim.unix_socket import Lock, is_served, listen

LISTENER_FD, LOAD_LOCK_FD = 3, 4
PROGRAM = "containerd-shim-wasm-v1"  # argv[0] of a daemon
_FIRST_FREE = LOAD_LOCK_FD + 1
_PROGRAM_CODE = "from pelagos_core.daemon.program import main; main()"


def start(flags: Flags, words: "list[str]") -> bytes:
    """Return the address to print. In the `start` process, whose working directory is the bundle.

    words: the command line that the flags were read from.
    Raises PelagosError or OSError.
    """
    check_id(flags.id)
    check_id(flags.namespace, "namespace")
    path = socket_path(flags.address, flags.namespace, group_in(".", flags.id))
    if not is_served(path):
        zygote = zygote_request.socket_path()
        outcome, address, lock = _ask(zygote, words)
        if outcome == zygote_client.STARTED:
            return address
        # Not locked earlier: the zygote's fork takes the same lock when it creates the daemon.
        with Lock(path):
            if not is_served(path):
                _make_daemon(daemon_words(flags, path), path, (zygote, outcome, lock))
            else:
                load_lock.end(zygote, lock)
    address = f"unix://{path}".encode()
    write_address(address)
    return address


def write_address(address: bytes, bundle_fd: "int | None" = None) -> None:
    """Write the address to the bundle for containerd 1.6 and 1.7, which read it after a restart.

    bundle_fd: of the bundle's directory; None: the working directory.
    """
    name = f".address.{os.getpid()}"  # two processes may write the address at the same time
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=bundle_fd)
    try:
        os.fchmod(fd, 0o644)  # independent of the umask
        os.write(fd, address)
    finally:
        os.close(fd)
    os.rename(name, "address", src_dir_fd=bundle_fd, dst_dir_fd=bundle_fd)


def daemon_words(flags: Flags, path: str) -> "list[str]":
    """The command line of the daemon that listens at `path`."""
    words = [PROGRAM, "-namespace", flags.namespace, "-id", flags.id, "-address", flags.address, "-socket", path]
    words += ["-owner", flags.owner] if flags.owner else []
    return [*words, "-debug"] if flags.debug else words


def open_log(bundle_fd: "int | None" = None) -> int:
    """Open the bundle's log, or /dev/null. bundle_fd: as in `write_address`."""
    try:
        # O_NONBLOCK: without containerd the FIFO has no reader, and open(2) would wait.
        return os.open("log", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=bundle_fd)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _ask(zygote: str, words: "list[str]") -> "tuple[str, bytes, int]":
    """Send the request to the zygote. Returns the outcome, the address, and the load lock if a zygote must be loaded.

    If another `start` is loading the zygote, waits for it.
    """
    if not zygote:
        return zygote_client.DECLINED, b"", load_lock.NOT_HELD
    request = zygote_request.own_request(words)
    outcome, address = zygote_client.ask(zygote, request)
    if outcome == zygote_client.FAILED:
        return outcome, b"", load_lock.take(zygote, 0)
    lock = load_lock.NOT_HELD
    if outcome == zygote_client.ABSENT:
        lock = load_lock.take(zygote, load_lock.SECONDS)
        outcome, address = zygote_client.ask(zygote, request)
    if outcome in (zygote_client.STARTED, zygote_client.DECLINED):
        load_lock.end(zygote, lock)
        lock = load_lock.NOT_HELD
    return outcome, address, lock


def _make_daemon(words: "list[str]", path: str, asked: "tuple[str, str, int]") -> None:
    """Execute a daemon that listens at `path`. Hold its Lock.

    asked: the zygote's path, the outcome of `_ask`, and the load lock.
    """
    zygote, outcome, lock = asked
    listener = listen(path)
    try:
        if outcome == zygote_client.DECLINED:
            zygote = ""  # there is a zygote, or it is turned off
        replace = "replace" if outcome == zygote_client.FAILED else ""
        _spawn([zygote, replace, *words], (listener.fileno(), lock, open_log()))
    except BaseException:
        os.unlink(path)
        raise


def _spawn(words: "list[str]", fds: "tuple[int, int, int]") -> None:
    """Execute the program of a daemon, without waiting for it.

    It is a grandchild, so that process 1 reaps it. It does not inherit stdout and stderr: containerd waits until both
    are closed. fds: the listener, the load lock, and the log.
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
    # Duplicated above their targets first: else one could be overwritten before it is copied.
    listener, ours, log = (fcntl.fcntl(null if fd < 0 else fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for fd in fds)
    for target, source in ((0, null), (1, null), (2, log), (LISTENER_FD, listener), (LOAD_LOCK_FD, ours)):
        os.dup2(source, target, inheritable=True)
    os.chdir("/")  # not the bundle, which is removed while the daemon runs
    own = zygote_request.read("/proc/self/oom_score_adj")
    zygote_client.set_oom_score_adj(zygote_client.shim_oom_score_adj(own))
    environment = zygote_request.kept_environment()
    os.execve(sys.executable, [sys.executable, "-I", "-c", _PROGRAM_CODE, *words], environment)
