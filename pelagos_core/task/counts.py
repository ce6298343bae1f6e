"""The daemon's metrics of its containers: states, times, failures and exits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pelagos_core.backends.registry import NATIVE
from pelagos_core.errors import to_fields
from pelagos_core.launch.guest_steps import TRAP
from pelagos_core.metrics import families
from pelagos_core.metrics.recorder import Recorder, now
from pelagos_core.reasons import ALL
from pelagos_core.task.container import Container
from pelagos_core.task.process import Process
from pelagos_core.task.state import Status

_STATES = {
    Status.CREATING: "creating",
    Status.CREATED: "created",
    Status.RUNNING: "running",
    Status.PAUSING: "pausing",
    Status.PAUSED: "paused",
    Status.STOPPED: "stopped",
}


class Counts:
    """Records metrics of containers during calls of the task API."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @contextmanager
    def create(self, container: Container) -> Iterator[None]:
        """Measure Create of a container; count its states and its exit from then on."""
        if not self._recorder.is_on:
            yield
            return
        self._recorder.count(families.CONTAINERS, "", _STATES[Status.CREATING])
        container.init.follow(self._moved)
        began = now()
        try:
            yield
        except BaseException as error:
            reason = to_fields(error)[2]
            self._recorder.count(families.CREATE_FAILURES, "", reason if reason in ALL else families.NO_REASON)
            raise
        self._recorder.observe(families.CREATE_SECONDS, container.init.backend, began)

    @contextmanager
    def start(self, container: Container, exec_id: str) -> Iterator[None]:
        """Measure Start of a container or an exec; count the exec's exit from then on."""
        if not self._recorder.is_on:
            yield
            return
        process = container.process(exec_id)
        if exec_id:
            process.follow(self._moved)
        began = now()
        yield
        self._recorder.observe(families.EXEC_SECONDS if exec_id else families.START_SECONDS, process.backend, began)

    def _moved(self, process: Process, before: Status, after: Status) -> None:
        if not process.id:
            # The engine is not known before CREATED.
            for status, by in ((before, -1), (after, 1)):
                if status in _STATES:
                    engine = "" if status is Status.CREATING else process.backend
                    self._recorder.count(families.CONTAINERS, engine, _STATES[status], by=by)
        if after is Status.STOPPED and process.exit:
            kind = "exec" if process.id else "container"
            self._recorder.count(families.EXITS, process.backend, kind, _cause(process, process.exit.code))


def _cause(process: Process, code: int) -> str:
    """The cause of an exit, one of families.CAUSES."""
    if process.is_late:
        return "deadline"
    if code == TRAP and process.backend != NATIVE.name:
        return "trap"
    if not code:
        return "success"
    return "signal" if code > 128 else "error"
