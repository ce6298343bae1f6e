"""The life cycle of tasks without isolation, for tests of the daemon's handling of processes.

TaskService, Container and Process are the real ones. A launch is replaced by a shell that reads its exit
code from a pipe, and a control group by an object. So a test needs no root and no namespaces, and takes a
few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from pelagos_core import reasons
from pelagos_core.api import task_pb2 as api
from pelagos_core.backends import builtin, registry
from pelagos_core.backends.registry import Backend, Backends
from pelagos_core.config.node_file import Config
from pelagos_core.errors import Cancelled, FailedPrecondition
from pelagos_core.launch import messages
from pelagos_core.launch.empty_networks import EmptyNetworks
from pelagos_core.launch.launch import Launch, Launched
from pelagos_core.linux.pidfd import readable
from pelagos_core.metrics.recorder import Recorder
from pelagos_core.task import container as container_module
from pelagos_core.task import events
from pelagos_core.task.container import Facilities
from pelagos_core.task.service import TaskService
from tests.support.bundles import make_bundle
from tests.support.event_order import Told


def backend(name: str = "stub", **hooks: object) -> Backend:
    """A backend with these hooks, each marked by `hookimpl`; the others are the built-in ones."""
    return Backend(name, "1", "", registry._manager(SimpleNamespace(**hooks)).hook)


class Guest:
    """One launched process, controlled by a test."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", "read code; exit $code"], stdin=subprocess.PIPE, start_new_session=True
        )
        self._shell.returncode = 0  # the tested code reaps it, not Popen
        self.pid = self._shell.pid
        self.control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self._theirs.setblocking(False)

    @property
    def runs(self) -> bool:
        """Whether Start was requested. Call it once."""
        try:
            return self._theirs.recv(64) == messages.GO
        except BlockingIOError:
            return False

    @property
    def is_reaped(self) -> bool:
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    def exit(self, code: int) -> None:
        """Make the process exit with this code."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{code}\n".encode())
        self._shell.stdin.flush()

    def press(self, signum: int) -> None:
        """Send the signal of a key that is pressed on its terminal."""
        self._theirs.send(bytes([signum]))

    def end(self) -> None:
        """Kill and reap the process if necessary."""
        if not self.is_reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._theirs.close()
        self.control.close()
        assert self._shell.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()


class StubLauncher:
    """Launches guests.

    error: raised by each launch, if it is set. gate: a launch does not complete before it is set.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.launches: list[Launch] = []
        self.guests: list[Guest] = []
        self.groups_left = 0
        self.networks = EmptyNetworks()
        self.metrics = Recorder()

    def begin(self, launch: Launch) -> StubConversation:
        self.launches.append(launch)
        return StubConversation(self, launch)

    def leave_group(self) -> None:
        self.groups_left += 1


class StubConversation:
    def __init__(self, launcher: StubLauncher, launch: Launch) -> None:
        self._launcher, self._launch = launcher, launch
        self._killed = asyncio.Event()

    def signal(self, signum: int) -> None:
        if builtin.is_deadly(signum):
            self._killed.set()

    async def run(self) -> Launched:
        launcher, launch = self._launcher, self._launch
        if launch.find_target:
            launch.find_target()
        guest = Guest()
        launcher.guests.append(guest)
        try:
            launch.forked(guest.pid)
            waits = [asyncio.ensure_future(event.wait()) for event in (launcher.gate, self._killed)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self._killed.is_set():
                raise Cancelled(f"{launch.name}: killed while it was being created", reasons.KILLED)
            if launcher.error:
                raise launcher.error
        except BaseException:
            guest.end()
            raise
        terminal = launch.bundle.spec.process.terminal
        pidfd = os.pidfd_open(guest.pid)
        return Launched(guest.pid, pidfd, guest.control, launcher.backend, "a stub", listens=terminal)


class StubCgroup:
    """A control group that is an object. others: processes in it in addition to the container's."""

    unified = True
    all: list[StubCgroup]

    def __init__(self, name: str) -> None:
        self.paths = (f"/stub/{name}",)
        self.others: list[int] = []
        self.is_made = self.frozen = self.freezes = False
        self.limit: int | None = None
        self.error: Exception | None = None
        StubCgroup.all.append(self)

    @classmethod
    def of(cls, cgroups_path: str, name: str, mounted: object) -> StubCgroup:
        return cls(cgroups_path.strip("/") or name)

    def check_unused(self) -> None:
        if self.others:
            raise FailedPrecondition("in use")

    def create(self, resources: Any) -> None:
        if self.error:
            raise self.error
        self.is_made = True

    def directory(self, controller: str) -> None:
        """The directory of a controller: there is none."""

    def exists(self) -> bool:
        return self.is_made

    def processes(self) -> list[int]:
        return list(self.others)

    def kill(self, signum: int) -> None:
        for pid in self.others:
            os.kill(pid, signum)

    def freeze(self) -> None:
        self.frozen = self.freezes

    def is_frozen(self) -> bool:
        return self.frozen

    def thaw(self) -> None:
        self.frozen = False

    def changes_memory(self, resources: Any) -> bool:
        return resources.memory.limit is not None

    @contextlib.contextmanager
    def updated(self, resources: Any) -> Iterator[None]:
        yield
        self.limit = resources.memory.limit

    def try_remove(self) -> bool:
        self.is_made = False
        return True


class NoHierarchies:
    """The control group hierarchies of the host: there are none."""

    def now(self) -> tuple[()]:
        return ()


class Node:
    """The installed backends: one stub."""

    def __init__(self, backend: Backend) -> None:
        self.backends = Backends((backend,))
        self.config = Config()

    async def refresh(self) -> None:
        await asyncio.sleep(0)


class LifeCycle:
    """The tested objects with the launched processes and published events, and functions that make requests."""

    def __init__(self, directory: Path, backend: Backend) -> None:
        self.directory = directory
        self.launcher = StubLauncher(backend)
        self.node = Node(backend)
        self.published: list[Message] = []
        self.shutdowns = 0

    def publish(self, message: Message) -> None:
        self.published.append(message)

    @property
    def facilities(self) -> Facilities:
        return Facilities(self, self.launcher, NoHierarchies())

    @property
    def guests(self) -> list[Guest]:
        return self.launcher.guests

    @property
    def cgroup(self) -> StubCgroup:
        return StubCgroup.all[-1]

    @property
    def told(self) -> list[Told]:
        """The events so far, each as its topic, container id and exec id."""
        return [_told(message) for message in self.published]

    @property
    def topics(self) -> list[str]:
        return [f"{topic} {exec_id}".strip() for topic, _, exec_id in self.told]

    def bundle(self, name: str = "c1", **process: object) -> Path:
        return make_bundle(self.directory / name, **process)

    def service(self) -> TaskService:
        def shutdown() -> None:
            self.shutdowns += 1

        return TaskService("ns", self.node, self.facilities, shutdown)

    def request(self, name: str = "c1", **fields: object) -> api.CreateTaskRequest:
        return api.CreateTaskRequest(id=name, bundle=str(self.bundle(name)), **fields)

    def end(self) -> None:
        for guest in self.guests:
            guest.end()


def _told(message: Message) -> Told:
    exec_id = getattr(message, "exec_id", "") or getattr(message, "id", "")
    topic = events.TOPICS[type(message)].removeprefix("/tasks/")
    return topic, message.container_id, "" if exec_id == message.container_id else exec_id


@contextlib.contextmanager
def life_cycle(directory: Path, backend: Backend) -> Iterator[LifeCycle]:
    """A LifeCycle whose containers have no control groups of the host. Requires a running event loop."""
    with pytest.MonkeyPatch.context() as patch:
        StubCgroup.all = []
        patch.setattr(container_module, "Cgroup", StubCgroup)
        made = LifeCycle(directory, backend)
        try:
            yield made
        finally:
            made.end()


async def reaped(guest: Guest) -> None:
    """Wait until a guest is reaped, after a test has ended it."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(guest.pid)
        await readable(pidfd)
        os.close(pidfd)
