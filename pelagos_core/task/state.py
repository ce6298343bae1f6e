"""The life cycle of a process as one table. No other module decides or writes a status."""

from __future__ import annotations

import enum
from collections.abc import Callable

from pelagos_core.errors import FailedPrecondition, NotFound, PelagosError


class Status(enum.Enum):
    """The status of a process. After DELETED its id is free."""

    ADDED = "added"
    CREATING = "being created"
    CREATED = "created"
    RUNNING = "running"
    PAUSING = "being paused"
    PAUSED = "paused"
    STOPPED = "stopped"
    DELETED = "deleted"


class Action(enum.Enum):
    """An event of a process, or a request on it."""

    BEGIN = "be started"
    CREATED = "finish creating"
    START = "start"
    EXEC = "exec"
    PAUSE = "pause"
    PAUSED = "finish pausing"
    RESUME = "resume"
    CANCEL_PAUSE = "cancel pausing"
    UPDATE = "update"
    KILL = "kill"
    EXIT = "exit"
    FAIL = "fail"
    DELETE = "delete"


# ADDED, BEGIN and FAIL are for an exec: it exists before it has a process, and after a failed start
# until Delete. EXEC, UPDATE and the actions of pausing are requests on a container, recorded for its
# init process. A SIGKILL to a paused container also thaws it.
TABLE: dict[tuple[Status, Action], Status] = {
    (Status.ADDED, Action.BEGIN): Status.CREATING,
    (Status.ADDED, Action.DELETE): Status.DELETED,
    (Status.CREATING, Action.CREATED): Status.CREATED,
    (Status.CREATING, Action.KILL): Status.CREATING,
    (Status.CREATING, Action.EXIT): Status.DELETED,
    (Status.CREATING, Action.FAIL): Status.STOPPED,
    (Status.CREATED, Action.START): Status.RUNNING,
    (Status.CREATED, Action.KILL): Status.CREATED,
    (Status.CREATED, Action.EXEC): Status.CREATED,
    (Status.CREATED, Action.UPDATE): Status.CREATED,
    (Status.CREATED, Action.EXIT): Status.STOPPED,
    (Status.CREATED, Action.FAIL): Status.STOPPED,
    (Status.RUNNING, Action.KILL): Status.RUNNING,
    (Status.RUNNING, Action.EXEC): Status.RUNNING,
    (Status.RUNNING, Action.PAUSE): Status.PAUSING,
    (Status.RUNNING, Action.UPDATE): Status.RUNNING,
    (Status.RUNNING, Action.EXIT): Status.STOPPED,
    (Status.PAUSING, Action.PAUSED): Status.PAUSED,
    (Status.PAUSING, Action.CANCEL_PAUSE): Status.RUNNING,
    (Status.PAUSING, Action.KILL): Status.PAUSING,
    (Status.PAUSING, Action.UPDATE): Status.PAUSING,
    (Status.PAUSING, Action.EXIT): Status.STOPPED,
    (Status.PAUSED, Action.RESUME): Status.RUNNING,
    (Status.PAUSED, Action.KILL): Status.PAUSED,
    (Status.PAUSED, Action.UPDATE): Status.PAUSED,
    (Status.PAUSED, Action.EXIT): Status.STOPPED,
    (Status.STOPPED, Action.DELETE): Status.DELETED,
}

# Clients distinguish "already ended" from "not in this state" by the code, as with containerd's runc shim.
REFUSALS: dict[tuple[Status, Action], type[PelagosError]] = {
    (Status.STOPPED, Action.KILL): NotFound,
    (Status.DELETED, Action.KILL): NotFound,
    (Status.DELETED, Action.DELETE): NotFound,
}


class Lifecycle:
    """One process' status.

    moved: called after each change with the status before and after it; None if nothing follows it.
    """

    __slots__ = ("_name", "_status", "moved")

    def __init__(self, name: str, status: Status = Status.CREATING) -> None:
        """name: of the process for errors, such as `container 'c1'`. status: the initial one."""
        self._name = name
        self._status = status
        self.moved: Callable[[Status, Status], None] | None = None

    @property
    def status(self) -> Status:
        """The status now."""
        return self._status

    def check(self, action: Action) -> Status:
        """The status that `action` would lead to.

        Raises FailedPrecondition, or NotFound if the process has ended.
        """
        after = TABLE.get((self._status, action))
        if after is None:
            refusal = REFUSALS.get((self._status, action), FailedPrecondition)
            raise refusal(f"{self._name}: cannot {action.value}, it is {self._status.value}")
        return after

    def apply(self, action: Action) -> None:
        """Change the status by `action`. Raises as `check` does; the status is unchanged then."""
        before, self._status = self._status, self.check(action)
        if self.moved and self._status is not before:
            self.moved(before, self._status)
