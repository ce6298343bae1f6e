"""The long-lived process of a group: serves the task API and is its containers' parent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket

from pelagos_core.backends.installed import Node
from pelagos_core.cgroups.hierarchies import KnownHierarchies
from pelagos_core.daemon import owner, runs
from pelagos_core.launch.launcher import Launcher
from pelagos_core.launch.nursery import Nurseries
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.unix_socket import Lock, identity
from pelagos_core.task.container import Facilities
from pelagos_core.task.publisher import Publisher
from pelagos_core.task.service import TaskService
from pelagos_core.ttrpc.server import Server

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
ANSWER_SECONDS = 1.0  # the Shutdown that ends us is answered like any other request
# No Create came after `start`: containerd was killed. When it comes back it may
# connect again and know of no container to create, so that a client is no reason to stay.
IDLE_SECONDS = 20.0


class Daemon:
    """One daemon, from its listening socket to its exit."""

    def __init__(self, flags: Flags, node: Node, nurseries: Nurseries) -> None:
        self._flags = flags
        self._nurseries = nurseries
        self._stopping = asyncio.Event()
        self._publisher = Publisher(os.environ.get("TTRPC_ADDRESS", "").removeprefix("unix://"), flags.namespace)
        self._hierarchies = KnownHierarchies()
        facilities = Facilities(self._publisher, Launcher(nurseries), self._hierarchies)
        self._service = TaskService(flags.namespace, node, facilities, self.stop)
        self._server = Server(self._service.services())
        self._socket = identity(flags.socket)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until `stop`; then send the last events and leave."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, lambda: asyncio.ensure_future(self._terminate()))
        end = self._end_with_owner() if self._flags.owner else self._stop_when_idle()
        background = [asyncio.ensure_future(self._publisher.run()), asyncio.ensure_future(end)]
        self._server.start(listener)
        await self._stopping.wait()
        await self._publisher.flush(FLUSH_SECONDS)
        await self._server.close(ANSWER_SECONDS)
        self._nurseries.close()
        self._hierarchies.close()
        for task in background:
            task.cancel()

    def stop(self) -> None:
        """Stop accepting, and give the socket's path up, before the answer is sent.

        A `start` that runs now finds either us, still serving, or no socket at all.
        """
        if self._stopping.is_set():
            return
        self._service.refuse()
        with contextlib.suppress(OSError), Lock(self._flags.socket):
            if identity(self._flags.socket) == self._socket:
                os.unlink(self._flags.socket)
        self._server.stop_accepting()
        self._stopping.set()

    async def _terminate(self) -> None:
        log.info("told to end by a signal")
        await self._service.end()
        self.stop()

    async def _end_with_owner(self) -> None:
        """End when the command ends for which this daemon was started, whatever ended it; leave nothing of it."""
        await owner.wait_for_end(self._flags.owner)
        log.info("the command has ended")
        await self._service.end()
        self.stop()
        # Before the connection ends: a command that waits for that finds nothing left to do.
        runs.remove(self._flags.owner)

    async def _stop_when_idle(self) -> None:
        while self._service.idle_seconds < IDLE_SECONDS:
            await asyncio.sleep(IDLE_SECONDS / 4)
            await self._service.forget_abandoned()
        log.info("no container for %g s", IDLE_SECONDS)
        self.stop()


def main(flags: Flags, node: Node, listener: socket.socket) -> None:
    """Be the daemon, to its end. listener: bound, listening, not blocking."""
    nurseries = Nurseries()
    # It warms up while containerd connects.
    with contextlib.suppress(OSError):
        nurseries.of(node.backends.first_native_part)
    asyncio.run(_serve(flags, node, nurseries, listener))


async def _serve(flags: Flags, node: Node, nurseries: Nurseries, listener: socket.socket) -> None:
    await Daemon(flags, node, nurseries).serve(listener)
