"""Runs one task for `pelagos run`: until it ends, or until it is detached."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pelagos_core.api import inspection_pb2, runs_pb2
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.cli.attached import Attached, Stdio
from pelagos_core.cli.connection import INSPECTION, RUNS, TASK
from pelagos_core.cli.mount_option import Mount
from pelagos_core.cli.signals import Signals
from pelagos_core.cli.waiting import Waiting
from pelagos_core.cli.workspace import Workspace

if TYPE_CHECKING:
    from pelagos_core.cli.ports import Publisher


class Session:
    """One task, from Create on. When the command ends, the daemon removes what is left of it."""

    def __init__(
        self, workspace: Workspace, waiting: Waiting, signals: Signals, publisher: Publisher | None, *, tty: bool
    ) -> None:
        """Connect to the shim, which must have been started.

        publisher: for its published ports, or None. Raises the error of the shim's start, or Unavailable.
        """
        self._connection = workspace.connect()
        self._workspace = workspace
        self._id = workspace.id
        self._attached = Attached(self._connection, waiting, signals, workspace.id)
        self._publisher = publisher
        self._tty = tty

    def run(self, layers: tuple[Mount, ...], created: Callable[[], None], *, interactive: bool) -> int:
        """Create and start the task, wait until it exits, and return its exit code.

        created: called when the program exists and may write. Raises the PelagosError of a failed call.
        """
        stdio = Stdio.make(self._workspace.directory, interactive=interactive, tty=self._tty)

        def create() -> None:
            self._create(layers, stdio)
            created()

        return self._attached.run(stdio, create, self._note_backend, tty=self._tty)

    def detach(self, layers: tuple[Mount, ...]) -> None:
        """Create and start the task with its output in a file; the daemon keeps running without this command.

        Raises the PelagosError of a failed call.
        """
        # containerd's convention: with a file URI, both outputs are written to the file of stdout.
        output = f"file://{self._workspace.make_output()}"
        self._create(layers, Stdio("", output, output))
        self._connection.call(TASK, "Start", api.StartRequest(id=self._id))
        self._note_backend()
        self._connection.call(RUNS, "Detach", runs_pb2.DetachRequest(id=self._id))
        self._workspace.leave()
        if self._publisher:
            self._publisher.leave()

    def _create(self, layers: tuple[Mount, ...], stdio: Stdio) -> None:
        request = api.CreateTaskRequest(
            id=self._id,
            bundle=self._workspace.bundle,
            rootfs=[MountMessage(type=m.type, source=m.source, options=m.options) for m in layers],
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            terminal=self._tty,
        )
        created = self._connection.call(TASK, "Create", request)
        if self._publisher:
            self._publisher.start(created.pid)
        # The answer is read after that of Start.
        self._asked = self._connection.send(INSPECTION, "Backend", inspection_pb2.BackendRequest(id=self._id))

    def _note_backend(self) -> None:
        self._workspace.note(backend=self._connection.wait_for(self._asked).backend)  # for `pelagos ps`
