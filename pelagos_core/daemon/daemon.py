"""The long-lived process of a group: serves the task API and is the parent of the containers' processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket

from pelagos_core.backends.installed import Node
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.cgroups.hierarchies import KnownHierarchies
from pelagos_core.daemon import event_loop, owner, runs
from pelagos_core.daemon.detached import Detached
from pelagos_core.launch.launcher import Launcher
from pelagos_core.launch.nursery import Nurseries
from pelagos_core.metrics.recorder import Recorder
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.unix_socket import Lock, identity
from pelagos_core.task.container import Facilities
from pelagos_core.task.publisher import Publisher
from pelagos_core.task.service import TaskService
from pelagos_core.tracing import setup
from pelagos_core.ttrpc.server import Server

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
ANSWER_SECONDS = 1.0  # for the answer to the Shutdown request that ends the daemon
# Seconds without a container after which the daemon ends: containerd may have been killed after `start`. An open
# connection does not prevent it: a restarted containerd may connect without creating a container.
IDLE_SECONDS = 20.0


class Daemon:
    """One daemon, from its listening socket to its exit."""

    def __init__(self, flags: Flags, node: Node, nurseries: Nurseries) -> None:
        self._flags = flags
        self._nurseries = nurseries
        self._stopping = asyncio.Event()
        self._publisher = Publisher(os.environ.get("TTRPC_ADDRESS", "").removeprefix("unix://"), flags.namespace)
        self._hierarchies = KnownHierarchies()
        self._metrics = Recorder.of_node(wanted=node.config.metrics)
        launcher = Launcher(nurseries, self._metrics, flags.address.removeprefix("unix://"))
        facilities = Facilities(self._publisher, launcher, self._hierarchies)
        self._service = TaskService(flags.namespace, node, facilities, self.stop)
        self._detached = Detached(flags.owner, self._service)
        self._tracer = setup.start(node.config.traces, flags.namespace)
        services = [*self._service.services(), *(self._detached.services() if flags.owner else [])]
        self._server = Server(services, self._tracer.call if self._tracer else None)
        self._socket = identity(flags.socket)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until `stop`; then send the last events and return."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, lambda: asyncio.ensure_future(self._terminate()))
        end = self._end_with_owner() if self._flags.owner else self._stop_when_idle()
        ending = asyncio.ensure_future(end)
        self._server.start(listener)
        await self._stopping.wait()
        await self._publisher.flush(FLUSH_SECONDS)
        await self._server.close(ANSWER_SECONDS)
        self._nurseries.close()
        self._hierarchies.close()
        self._metrics.close()
        if self._tracer:
            self._tracer.close()
        self._publisher.close()
        ending.cancel()

    def stop(self) -> None:
        """Stop accepting connections and remove the socket, before the answer to Shutdown is sent.

        So a concurrent `start` finds either a daemon that still serves, or no socket.
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
        log.info("ended by a signal")
        await self._service.end()
        self.stop()

    async def _end_with_owner(self) -> None:
        """End, with all containers, when the `pelagos run` command that started this daemon has ended."""
        command = asyncio.ensure_future(owner.wait_for_end(self._flags.owner))
        detached = asyncio.ensure_future(self._detached.wait_for_end())
        await asyncio.wait((command, detached), return_when=asyncio.FIRST_COMPLETED)
        log.info("the command has ended" if command.done() else "the detached container has ended")
        await self._service.end()
        self.stop()
        # Before the connection is closed: a command that waits for its end must find everything removed.
        if command.done():
            runs.remove(self._flags.owner)
        else:
            runs.end(self._flags.owner, *detached.result())
        command.cancel()
        detached.cancel()

    async def _stop_when_idle(self) -> None:
        while self._service.idle_seconds < IDLE_SECONDS:
            await asyncio.sleep(IDLE_SECONDS / 4)
            await self._service.remove_abandoned()
        log.info("no container for %g s", IDLE_SECONDS)
        self.stop()


def main(flags: Flags, node: Node, listener: socket.socket) -> None:
    """Run the daemon until it ends. listener: bound, listening, non-blocking."""
    nurseries = Nurseries()
    # Started now, so that it loads while containerd connects.
    with contextlib.suppress(OSError):
        likely = Selection(node.backends, Preference(order=node.settings.order)).likely_with_native_part
        nurseries.of(likely.native if likely else None)
    event_loop.run(_serve(flags, node, nurseries, listener))


async def _serve(flags: Flags, node: Node, nurseries: Nurseries, listener: socket.socket) -> None:
    await Daemon(flags, node, nurseries).serve(listener)
