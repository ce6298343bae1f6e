"""The events of a task, as containerd's topics and messages.

Promised order for each container: create < start < exit < delete; for each exec in it:
exec-added < exec-started < exit. All events of execs, and an oom, precede the container's exit. Events go
through one queue with one sender. An event is queued before its call is answered, and an exit
before Wait is answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from pelagos_core.api import task_events_pb2 as api
from pelagos_core.api.types_pb2 import Mount
from pelagos_core.exit_status import ExitStatus
from pelagos_core.task.streams.stdio import StdioPaths

TOPICS: dict[type[Message], str] = {
    api.TaskCreate: "/tasks/create",
    api.TaskStart: "/tasks/start",
    api.TaskPaused: "/tasks/paused",
    api.TaskResumed: "/tasks/resumed",
    api.TaskOOM: "/tasks/oom",
    api.TaskExit: "/tasks/exit",
    api.TaskDelete: "/tasks/delete",
    api.TaskExecAdded: "/tasks/exec-added",
    api.TaskExecStarted: "/tasks/exec-started",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its topic, its message and when it happened (nanoseconds, UTC)."""

    topic: str
    message: Message
    at: int


def pack(message: Message) -> Any:
    """Put a message into an Any as containerd expects it.

    The type URL is the bare message name: containerd's typeurl compares it exactly, so
    `Any.Pack`, which prefixes `type.googleapis.com/`, would not be recognised.
    """
    return Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


def timestamp(nanoseconds: int) -> Timestamp:
    """A protobuf timestamp of a time in nanoseconds since the epoch."""
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def task_create(container_id: str, bundle: str, rootfs: list[Mount], stdio: StdioPaths, pid: int) -> Message:
    """The container's init process exists and waits for Start."""
    return api.TaskCreate(
        container_id=container_id,
        bundle=bundle,
        rootfs=rootfs,
        io=api.TaskIO(stdin=stdio.stdin, stdout=stdio.stdout, stderr=stdio.stderr, terminal=stdio.terminal),
        pid=pid,
    )


def task_start(container_id: str, pid: int) -> Message:
    """The guest runs."""
    return api.TaskStart(container_id=container_id, pid=pid)


def task_paused(container_id: str) -> Message:
    """All processes of the container are frozen."""
    return api.TaskPaused(container_id=container_id)


def task_resumed(container_id: str) -> Message:
    """All processes of the container run again."""
    return api.TaskResumed(container_id=container_id)


def task_oom(container_id: str) -> Message:
    """The kernel has killed a process of the container for lack of memory."""
    return api.TaskOOM(container_id=container_id)


def exec_added(container_id: str, exec_id: str) -> Message:
    """A further process was added by Exec."""
    return api.TaskExecAdded(container_id=container_id, exec_id=exec_id)


def exec_started(container_id: str, exec_id: str, pid: int) -> Message:
    """A further process runs."""
    return api.TaskExecStarted(container_id=container_id, exec_id=exec_id, pid=pid)


def task_exit(container_id: str, exec_id: str, pid: int, status: ExitStatus) -> Message:
    """The process of this exec id, or the init process if it is empty, has ended."""
    return api.TaskExit(
        container_id=container_id,
        id=exec_id or container_id,
        pid=pid,
        exit_status=status.code,
        exited_at=timestamp(status.exited_at),
    )


def task_delete(container_id: str, pid: int, status: ExitStatus) -> Message:
    """The container was deleted."""
    return api.TaskDelete(
        container_id=container_id,
        id=container_id,
        pid=pid,
        exit_status=status.code,
        exited_at=timestamp(status.exited_at),
    )
