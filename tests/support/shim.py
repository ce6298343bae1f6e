"""Calls a shim as containerd does, without containerd: start, the task API, the events server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as Any_
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from pelagos_core.api import events_pb2, task_events_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount
from pelagos_core.cli import launcher
from pelagos_core.task import NAMES
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.server import Server
from pelagos_core.ttrpc.service import Service
from tests.support.bundles import Fifos
from tests.support.event_order import Told
from tests.support.zygote import of_the_tests

RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
TASK = [Service(name, api.DESCRIPTOR.services_by_name["Task"]) for name in NAMES]


class Events:
    """containerd's events service: remembers what it is sent, in order."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._of: dict[str, list[tuple[str, Any]]] = {}  # container -> (topic, message): there may be thousands
        self._changed = asyncio.Condition()

    def server(self) -> Server:
        """A server that receives these events; there may be several, one after another."""
        descriptor = events_pb2.DESCRIPTOR.services_by_name["Events"]
        return Server([Service("containerd.services.events.ttrpc.v1.Events", descriptor, self)])

    async def forward(self, request: events_pb2.ForwardRequest) -> Empty:
        topic, message = request.envelope.topic, _message(request.envelope)
        async with self._changed:
            self._told.append((topic.removeprefix("/tasks/"), message.container_id, _exec_id(message)))
            self._of.setdefault(message.container_id, []).append((topic, message))
            self._changed.notify_all()
        return Empty()

    def of(self, container_id: str) -> list[str]:
        """The topics of one container's events, in order."""
        return [topic for topic, _ in self._of.get(container_id, [])]

    def exit(self, container_id: str, exec_id: str = "") -> Any:
        """The one exit event of a container, or of an exec in it."""
        (event,) = [event for event in self._exits(container_id) if event.id == (exec_id or container_id)]
        return event

    def ids_of_exits(self, container_id: str) -> list[str]:
        """The ids of all exits that were published, in order."""
        return [event.id for event in self._exits(container_id)]

    def _exits(self, container_id: str) -> list[Any]:
        return [message for topic, message in self._of.get(container_id, []) if topic == "/tasks/exit"]

    def told(self) -> list[Told]:
        """All events of tasks and execs, in order."""
        return list(self._told)

    async def count(self, number: int) -> list[Told]:
        """Wait for `number` events; return all of them."""
        return await self.seen(lambda told: len(told) >= number)

    async def seen(self, enough: Callable[[list[Told]], bool]) -> list[Told]:
        """Wait until `enough` is true for the events; return all of them."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: enough(self.told())), 10)
        return self.told()

    async def until(self, container_id: str, *topics: str) -> None:
        """Wait until exactly these topics were published for a container."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: self.of(container_id) == list(topics)), 10)


def _message(envelope: events_pb2.Envelope) -> Any:
    kind = getattr(task_events_pb2, envelope.event.type_url.removeprefix("containerd.events."))
    return kind.FromString(envelope.event.value)


def _exec_id(message: Any) -> str:
    """The exec id of an event; empty for the init process. An exit has it in `id`, others in `exec_id`."""
    name = getattr(message, "exec_id", "") or getattr(message, "id", "")
    return "" if name == message.container_id else name


class Shim:
    """One group's daemon, and a connection to it."""

    def __init__(self, client: Client, events: Events, directory: Path, address: str) -> None:
        self.client = client
        self.events = events
        self.directory = directory
        self.address = address
        self.pid = 0

    async def call(self, method: str, request: Message | None = None, timeout: float | None = 30) -> Any:
        return await self.client.call(method, request, timeout=timeout)

    async def create(
        self, container_id: str, bundle: Path, fifos: Fifos | None = None, timeout: float = 30, **fields: Any
    ) -> int:
        """Create a task with the FIFOs as its streams and the bundle's own rootfs; return its pid. timeout: seconds."""
        streams = {"stdin": fifos.stdin, "stdout": fifos.stdout, "stderr": fifos.stderr} if fifos else {}
        request = api.CreateTaskRequest(id=container_id, bundle=str(bundle), **streams, **fields)
        return (await self.call("Create", request, timeout)).pid

    async def exec(
        self,
        container_id: str,
        exec_id: str,
        *args: str,
        fifos: Fifos | None = None,
        terminal: bool = False,
        stdout: str = "",
        **process: Any,
    ) -> None:
        """Create an exec with these arguments and fields of `process`."""
        streams = {"stdin": fifos.stdin, "stdout": fifos.stdout, "stderr": fifos.stderr} if fifos else {}
        streams |= {"stdout": stdout} if stdout else {}
        spec = {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, **process}
        value = Any_(type_url=PROCESS_TYPE, value=json.dumps(spec).encode())
        request = api.ExecProcessRequest(id=container_id, exec_id=exec_id, spec=value, terminal=terminal, **streams)
        await self.call("Exec", request)

    async def start(self, container_id: str, exec_id: str = "") -> int:
        return (await self.call("Start", api.StartRequest(id=container_id, exec_id=exec_id))).pid

    async def state(self, container_id: str, exec_id: str = "") -> Any:
        return await self.call("State", api.StateRequest(id=container_id, exec_id=exec_id))

    async def wait(self, container_id: str, exec_id: str = "") -> Any:
        return await self.call("Wait", api.WaitRequest(id=container_id, exec_id=exec_id))

    async def kill(self, container_id: str, signal: int, exec_id: str = "", *, everything: bool = False) -> None:
        await self.call("Kill", api.KillRequest(id=container_id, exec_id=exec_id, signal=signal, all=everything))

    async def delete(self, container_id: str, exec_id: str = "") -> Any:
        return await self.call("Delete", api.DeleteRequest(id=container_id, exec_id=exec_id))

    async def close_io(self, container_id: str, exec_id: str = "") -> None:
        """Call CloseIO for the input."""
        await self.call("CloseIO", api.CloseIORequest(id=container_id, exec_id=exec_id, stdin=True))

    async def run(self, container_id: str, bundle: Path, fifos: Fifos | None = None, **fields: Any) -> int:
        """Create, start, wait and delete; return the exit code."""
        await self.create(container_id, bundle, fifos, **fields)
        await self.start(container_id)
        status = await self.wait(container_id)
        await self.delete(container_id)
        return status.exit_status


def shim_command(
    *words: str, cwd: Path, env: dict[str, str] | None = None, python: str = sys.executable
) -> subprocess.CompletedProcess[bytes]:
    """Run the shim's program as containerd does. python: the interpreter of its environment."""
    return subprocess.run(
        [python, launcher.FLAGS, "-c", launcher.body(), *words],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **of_the_tests(), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )


@contextlib.asynccontextmanager
async def running_shim(
    directory: Path, group: str = "pod", python: str = sys.executable, env: dict[str, str] | None = None
) -> AsyncIterator[Shim]:
    """Run a shim with its sockets, bundle, events server and cache below `directory`; end it after the block."""
    events = Events()
    server = events.server()
    # pytest's own directories are too long for a socket's path.
    sockets = tempfile.mkdtemp(prefix="pelagos-")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "events.sock"))
    listener.listen()
    server.start(listener)
    places = {"TTRPC_ADDRESS": str(directory / "events.sock"), "PELAGOS_SOCKET_DIR": sockets}
    env = {**places, "PELAGOS_CACHE_DIR": str(directory / "cache"), **(env or {})}
    bundle = directory / "start"
    bundle.mkdir()
    done = await asyncio.to_thread(shim_command, *flags(directory, group), "start", cwd=bundle, env=env, python=python)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    address = done.stdout.decode().removeprefix("unix://")
    client = await Client.connect(address, TASK[0])
    shim = Shim(client, events, directory, address)
    # After the first answer, all permanent descriptors are open.
    shim.pid = (await shim.call("Connect")).shim_pid
    try:
        yield shim
    finally:
        client.close()
        await _end(shim.pid)
        await server.close(1)
        shutil.rmtree(sockets)


def flags(directory: Path, group: str) -> list[str]:
    return [
        "-namespace",
        "test",
        "-address",
        str(directory / "containerd.sock"),
        "-publish-binary",
        "/bin/true",
        "-id",
        group,
    ]


def mount(source: Path, *options: str) -> Mount:
    """A bind mount for the rootfs list of a Create request."""
    return Mount(type="bind", source=str(source), options=["rbind", *options])


async def _end(pid: int) -> None:
    """End the daemon and all its containers."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 15)
    done = await asyncio.to_thread(_readable, pidfd, 10.0)
    if not done:
        os.kill(pid, 9)
    os.close(pidfd)
    assert done, "the daemon did not end on SIGTERM"


def _readable(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def holder(path: str) -> int:
    """The process that listens on a Unix socket, by its inode in /proc."""
    with open("/proc/net/unix") as file:
        inodes = {line.split()[6] for line in file if line.rstrip().endswith(f" {path}")}
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{process}/fd"):
                if os.readlink(f"/proc/{process}/fd/{fd}").removeprefix("socket:[").removesuffix("]") in inodes:
                    return int(process)
    raise AssertionError(f"no process listens on {path}")
