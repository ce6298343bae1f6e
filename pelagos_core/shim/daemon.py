"""The long-lived process of a group: serves the task API and is its containers' parent."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys

from pelagos_core.node import Node
from pelagos_core.shim.address import BACKLOG, Lock
from pelagos_core.shim.flags import Flags, parse
from pelagos_core.shim.start import LISTENER_FD
from pelagos_core.task.publisher import Publisher
from pelagos_core.task.service import TaskService
from pelagos_core.ttrpc.server import Server

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
ANSWER_SECONDS = 1.0  # the Shutdown that ends us is answered like any other request
# Nobody came after `start`, or everybody left without a Shutdown: containerd was killed.
IDLE_SECONDS = 60.0


class Daemon:
    """One daemon, from its listening socket to its exit."""

    def __init__(self, flags: Flags, node: Node) -> None:
        self._flags = flags
        self._stopping = asyncio.Event()
        self._publisher = Publisher(os.environ.get("TTRPC_ADDRESS", "").removeprefix("unix://"), flags.namespace)
        self._service = TaskService(flags.namespace, node, self._publisher, self.stop)
        self._server = Server(self._service.services())
        self._socket = _identity(flags.socket)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until `stop`; then send the last events and leave."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, lambda: asyncio.ensure_future(self._terminate()))
        background = [asyncio.ensure_future(self._publisher.run()), asyncio.ensure_future(self._stop_when_idle())]
        await self._server.start(listener, BACKLOG)
        await self._stopping.wait()
        await self._publisher.flush(FLUSH_SECONDS)
        await self._server.close(ANSWER_SECONDS)
        for task in background:
            task.cancel()

    def stop(self) -> None:
        """Stop accepting, and give the socket's path up, before anybody is told.

        A `start` that runs now finds either us, still serving, or no socket at all.
        """
        if self._stopping.is_set():
            return
        self._service.refuse()
        with contextlib.suppress(OSError), Lock(self._flags.socket):
            if _identity(self._flags.socket) == self._socket:
                os.unlink(self._flags.socket)
        self._server.stop_accepting()
        self._stopping.set()

    async def _terminate(self) -> None:
        log.info("told to end by a signal")
        await self._service.end()
        self.stop()

    async def _stop_when_idle(self) -> None:
        idle = 0.0
        while idle < IDLE_SECONDS:
            await asyncio.sleep(IDLE_SECONDS / 4)
            unused = self._service.idle and not self._server.connections
            idle = idle + IDLE_SECONDS / 4 if unused else 0.0
        log.info("no container and no client for %g s", IDLE_SECONDS)
        self.stop()


class LogHandler(logging.Handler):
    """Lines in containerd's own format, to descriptor 2: the bundle's `log` FIFO.

    A line that the FIFO does not take (nobody reads, or it is full) is dropped: logging
    never waits.
    """

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        text = self.format(record).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        with contextlib.suppress(OSError):
            os.write(2, f'level={level} msg="pelagos: {text}"\n'.encode("utf-8", "replace"))


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def main() -> None:
    """The daemon's program: flags as `start` gives them, the listener as descriptor 3."""
    flags = parse(sys.argv[1:])
    logging.basicConfig(
        level=logging.DEBUG if flags.debug else logging.INFO, handlers=[LogHandler()], format="%(message)s"
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    listener = socket.socket(fileno=LISTENER_FD)
    listener.set_inheritable(False)
    listener.setblocking(False)
    # The parent of the one that goes on has nothing left to do.
    node = Node.load(leave=lambda pid: os._exit(0))
    # Objects that live as long as we do: the collector need not write to their pages, which
    # the init processes share.
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(flags, node, listener))


async def _serve(flags: Flags, node: Node, listener: socket.socket) -> None:
    await Daemon(flags, node).serve(listener)
