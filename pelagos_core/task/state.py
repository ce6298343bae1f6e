"""The life of a process, as one table. Nothing else decides or writes a status."""

from __future__ import annotations

import enum

from pelagos_core.errors import FailedPrecondition, NotFound, PelagosError


class Status(enum.Enum):
    """Where a process is in its life. DELETED is the end: its id means nothing any more."""

    ADDED = "added"
    CREATING = "being created"
    CREATED = "created"
    RUNNING = "running"
    PAUSING = "being paused"
    PAUSED = "paused"
    STOPPED = "stopped"
    DELETED = "deleted"


class Action(enum.Enum):
    """What happens to a process, or is asked of it."""

    BEGIN = "be started"
    CREATED = "finish creating"
    START = "start"
    EXEC = "exec"
    PAUSE = "pause"
    PAUSED = "finish pausing"
    RESUME = "resume"
    GIVE_UP = "give up pausing"
    UPDATE = "update"
    KILL = "kill"
    EXIT = "exit"
    FAIL = "fail"
    DELETE = "delete"


# ADDED, BEGIN and FAIL are an exec's: it is there before it has a process, and stays to be
# deleted when it could not be started. EXEC, UPDATE and those of pausing are asked of a container
# by way of its init process; a signal that ends a paused one takes it out of its pause too.
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
    (Status.PAUSING, Action.GIVE_UP): Status.RUNNING,
    (Status.PAUSING, Action.KILL): Status.PAUSING,
    (Status.PAUSING, Action.UPDATE): Status.PAUSING,
    (Status.PAUSING, Action.EXIT): Status.STOPPED,
    (Status.PAUSED, Action.RESUME): Status.RUNNING,
    (Status.PAUSED, Action.KILL): Status.PAUSED,
    (Status.PAUSED, Action.UPDATE): Status.PAUSED,
    (Status.PAUSED, Action.EXIT): Status.STOPPED,
    (Status.STOPPED, Action.DELETE): Status.DELETED,
}

# Clients tell "it is over already" from "not now" by the code (containerd's runc shim does so).
REFUSALS: dict[tuple[Status, Action], type[PelagosError]] = {
    (Status.STOPPED, Action.KILL): NotFound,
    (Status.DELETED, Action.KILL): NotFound,
    (Status.DELETED, Action.DELETE): NotFound,
}


class Lifecycle:
    """One process' status."""

    __slots__ = ("_name", "_status")

    def __init__(self, name: str, status: Status = Status.CREATING) -> None:
        """name: what errors call the process, such as `container 'c1'`. status: the first one."""
        self._name = name
        self._status = status

    @property
    def status(self) -> Status:
        """The status now."""
        return self._status

    def check(self, action: Action) -> Status:
        """The status that `action` would lead to.

        Raises FailedPrecondition, or NotFound where the process is gone for good.
        """
        after = TABLE.get((self._status, action))
        if after is None:
            refusal = REFUSALS.get((self._status, action), FailedPrecondition)
            raise refusal(f"{self._name}: cannot {action.value}, it is {self._status.value}")
        return after

    def apply(self, action: Action) -> None:
        """Take the step. Raises as `check` does, and then nothing has changed."""
        self._status = self.check(action)
