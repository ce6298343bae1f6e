"""The program that becomes a daemon, and then the zygote that forks later daemons."""

from __future__ import annotations

import contextlib
import encodings.ascii  # noqa: F401 (else each fork imports it again, for its first file in ASCII)
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys

from pelagos_core.backends.installed import Node, load_waiting
from pelagos_core.config.policy import EVERYTHING
from pelagos_core.daemon import daemon
from pelagos_core.errors import PelagosError
from pelagos_core.images import reader
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.launch.immortal import make_everything_immortal
from pelagos_core.linux import credentials
from pelagos_core.native.process_name import SHIM, set_name
from pelagos_core.shim import load_lock, zygote_request
from pelagos_core.shim.flags import parse
from pelagos_core.shim.start import LISTENER_FD, LOAD_LOCK_FD
from pelagos_core.tracing import setup
from pelagos_core.zygote.freshness import Freshness
from pelagos_core.zygote.server import Zygote

IDLE_SECONDS = 600

log = logging.getLogger(__name__)


class LogHandler(logging.Handler):
    """Writes lines in containerd's format to descriptor 2, the bundle's `log` FIFO.

    A line is dropped if the FIFO is full or has no reader: logging never blocks.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level = record.levelname.lower()
        text = self.format(record).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        with contextlib.suppress(OSError):
            os.write(2, f'level={level} msg="pelagos: {text}"\n'.encode("utf-8", "replace"))


def main() -> None:
    """The program that `start` executes if no zygote has answered. Never returns.

    Its arguments are the zygote's path (empty: create no zygote), `replace` if the present zygote did not answer,
    and the daemon's command line. Its descriptors are the listener, the log, and the load lock if `start` holds it.
    """
    path, replace, *words = sys.argv[1:]
    listener = socket.socket(fileno=LISTENER_FD)
    listener.set_inheritable(False)
    os.set_inheritable(LOAD_LOCK_FD, False)
    _log_to_stderr()
    # Node.load may fork: the child continues, and the parent exits.
    node = Node.load(leave=lambda pid: os._exit(0))
    setup.preload(node.settings.traces)
    _freeze()
    configured = node.settings.zygote_idle_seconds
    idle_seconds = IDLE_SECONDS if configured is None else configured
    if not path or not idle_seconds or not _fork():
        os.close(LOAD_LOCK_FD)
        _run_daemon(node, words, listener)
    else:
        listener.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)  # the log belongs to the pod: containerd reads it until every writer has closed it
        os.close(null)
        # After the fork, in the zygote only: else the first pod would wait for it.
        gc.unfreeze()
        reader.preload()
        make_everything_immortal()
        gc.freeze()
        with contextlib.suppress(OSError):  # the socket cannot be bound: there is no zygote then
            _run_zygote(node, path, idle_seconds, LOAD_LOCK_FD, replace=bool(replace))
    os._exit(0)


def stay() -> None:
    """Run the zygote until its loaded modules are stale, and exit. For `pelagos zygote`. Never returns."""
    _log_to_stderr()
    path = zygote_request.socket_path()
    if not path:
        log.error("%s is `off`, or its path is too long", zygote_request.VARIABLE)
        os._exit(1)
    node = load_waiting()
    setup.preload(node.settings.traces)
    reader.preload()
    credentials.die_with_parent(signal.SIGTERM)  # the parent is the process that a service manager supervises
    make_everything_immortal()
    _freeze()
    try:
        _run_zygote(node, path, None, load_lock.NOT_HELD, replace=True)
    except OSError as error:
        log.error("zygote: %s", error)  # noqa: TRY400 (no trace wanted)
        os._exit(1)
    os._exit(0)


def _run_zygote(node: Node, path: str, idle_seconds: float | None, held: int, *, replace: bool) -> None:
    """Run the zygote. held: the load lock, released once the zygote listens."""

    def forked(words: list[str], listener: socket.socket) -> None:
        _run_daemon(node, words, listener)

    zygote = Zygote(path, Freshness(node.backends), forked)
    set_name("pelagos-zygote", ["pelagos-zygote", path])  # before a client can connect
    ours = zygote.listen(replace=replace)
    load_lock.end(path, held)
    if ours:
        zygote.serve(idle_seconds)


def _run_daemon(node: Node, words: list[str], listener: socket.socket) -> None:
    """Run the daemon of a command line; the first word is the program's name."""
    flags = parse(words[1:])
    logging.getLogger().setLevel(logging.DEBUG if flags.debug else logging.INFO)
    set_name(SHIM, words)
    listener.setblocking(False)
    daemon.main(flags, node, listener)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[LogHandler()], format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


def _freeze() -> None:
    """Freeze the garbage collector, so that forks keep sharing the pages of loaded modules.

    The system call filters of engines are the same for all containers, so they are compiled now.
    """
    with contextlib.suppress(PelagosError):  # reported when a container needs them
        Filters.of(None, EVERYTHING)
    gc.collect()
    gc.freeze()
    if sys.version_info < (3, 12):
        # The cache's entries hold references to names of attributes. When a fork replaces an entry, it writes to the
        # page of the former name: 0.7 MiB in a daemon. Later interpreters do not count references to names.
        sys._clear_type_cache()


def _fork() -> int:
    try:
        return os.fork()
    except OSError:  # no process or memory for a zygote
        return 0
