"""How a daemon comes to be: started anew, or forked by the zygote that such a start leaves behind."""

from __future__ import annotations

import contextlib
import encodings.ascii  # noqa: F401 (else each fork imports it for itself, for its first file in ASCII)
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
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.launch.immortal import make_everything_immortal
from pelagos_core.linux import credentials
from pelagos_core.native.process_name import SHIM, set_name
from pelagos_core.shim import load_lock, zygote_request
from pelagos_core.shim.flags import parse
from pelagos_core.shim.start import LISTENER_FD, TURN_FD
from pelagos_core.zygote.freshness import Freshness
from pelagos_core.zygote.server import Zygote

IDLE_SECONDS = 600

log = logging.getLogger(__name__)


class LogHandler(logging.Handler):
    """Lines in containerd's own format, to descriptor 2: the bundle's `log` FIFO.

    A line that the FIFO does not take (it has no reader, or is full) is dropped: logging
    never waits.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level = record.levelname.lower()
        text = self.format(record).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        with contextlib.suppress(OSError):
            os.write(2, f'level={level} msg="pelagos: {text}"\n'.encode("utf-8", "replace"))


def main() -> None:
    """What `start` executes where no zygote has answered.

    Its words are the zygote's path (empty: there is to be none), `replace` if the one that
    is there did not answer, and the daemon's command line; its descriptors the listener, the log,
    and the turn to load a zygote, if it is ours.
    """
    path, replace, *words = sys.argv[1:]
    listener = socket.socket(fileno=LISTENER_FD)
    listener.set_inheritable(False)
    os.set_inheritable(TURN_FD, False)
    _log_to_stderr()
    # The parent of the one that goes on has nothing left to do.
    node = Node.load(leave=lambda pid: os._exit(0))
    _settle()
    configured = node.settings.zygote_idle_seconds
    idle_seconds = IDLE_SECONDS if configured is None else configured
    if not path or not idle_seconds or not _fork():
        os.close(TURN_FD)
        _be_daemon(node, words, listener)
    else:
        listener.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)  # the log is the pod's: containerd reads it up to its end
        os.close(null)
        # Here and not for our first daemon, whose pod would wait for it.
        gc.unfreeze()
        make_everything_immortal()
        gc.freeze()
        with contextlib.suppress(OSError):  # no place for its socket: then there is none
            _be_zygote(node, path, idle_seconds, TURN_FD, replace=bool(replace))
    os._exit(0)


def stay() -> None:
    """Be the zygote for as long as it is up to date. What `pelagos zygote` executes."""
    _log_to_stderr()
    path = zygote_request.socket_path()
    if not path:
        log.error("%s says that there is to be no zygote, or names too long a path", zygote_request.VARIABLE)
        os._exit(1)
    node = load_waiting()
    credentials.die_with_parent(signal.SIGTERM)  # which is the one that a service manager knows
    make_everything_immortal()
    _settle()
    try:
        _be_zygote(node, path, None, load_lock.NOBODYS, replace=True)
    except OSError as error:
        log.error("zygote: %s", error)  # noqa: TRY400 (no trace wanted)
        os._exit(1)
    os._exit(0)


def _be_zygote(node: Node, path: str, idle_seconds: float | None, held: int, *, replace: bool) -> None:
    """held: the turn to load it, which ends once it listens."""

    def forked(words: list[str], listener: socket.socket) -> None:
        _be_daemon(node, words, listener)

    zygote = Zygote(path, Freshness(node.backends), forked)
    set_name("pelagos-zygote", ["pelagos-zygote", path])  # before a client can find it
    ours = zygote.listen(replace=replace)
    load_lock.end(path, held)
    if ours:
        zygote.serve(idle_seconds)


def _be_daemon(node: Node, words: list[str], listener: socket.socket) -> None:
    """The daemon of a command line, to its end; the first word is the program's name."""
    flags = parse(words[1:])
    logging.getLogger().setLevel(logging.DEBUG if flags.debug else logging.INFO)
    set_name(SHIM, words)
    listener.setblocking(False)
    daemon.main(flags, node, listener)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[LogHandler()], format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


def _settle() -> None:
    """Freeze the garbage collector, so that forks keep sharing the pages of what is loaded.

    An engine's filters are the same for all containers, so they are made now.
    """
    with contextlib.suppress(PelagosError):  # reported when a container needs them
        Filters.of(None, EVERYTHING.seccomp)
    gc.collect()
    gc.freeze()


def _fork() -> int:
    try:
        return os.fork()
    except OSError:  # no process or memory is left for a zygote
        return 0
