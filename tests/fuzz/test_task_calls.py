"""Random sequences of task calls on a real shim, each answer checked against the state table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as Resources
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.errors import AlreadyExists, NotFound, PelagosError
from pelagos_core.task.state import Action, Lifecycle, Status
from tests.fuzz.budget import SEEDED, seconds
from tests.support import provision
from tests.support.bundles import make_bundle
from tests.support.event_order import Told, violation
from tests.support.shim import RESOURCES_TYPE, running_shim
from tests.support.traces import cgroups_of, descriptors, processes

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow]

CONTAINERS = st.sampled_from(["a", "b", "c"])
EXECS = st.sampled_from(["", "e", "f"])  # an empty one is the init process
SIGNALS = st.sampled_from([9, 15, 2, 12])
EXAMPLES_PER_SECOND = 3
PROGRAMS = {"/spin.wasm": None, "/exit7.wasm": 7, "/trap.wasm": 134}  # and the code that each ends with
API_STATUS = {
    Status.ADDED: types_pb2.CREATED,
    Status.CREATED: types_pb2.CREATED,
    Status.RUNNING: types_pb2.RUNNING,
    Status.PAUSED: types_pb2.PAUSED,
    Status.STOPPED: types_pb2.STOPPED,
}


def moment(answer: Any) -> tuple[int, int]:
    """How and when a process ended, from any answer that says so."""
    return answer.exit_status, answer.exited_at.ToNanoseconds()


@dataclass
class Model:
    """What a process should be: the table's own life, how it ends, and which calls wait for that."""

    lifecycle: Lifecycle
    program: str
    pid: int = 0
    told: tuple[int, int] | None = None
    waits: list[asyncio.Future[Any]] = field(default_factory=list)

    @property
    def status(self) -> Status:
        return self.lifecycle.status


class TaskCalls(RuleBasedStateMachine):
    """One shim, some containers, their execs; every call may come at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="calls-"))
        self.processes: dict[tuple[str, str], Model] = {}
        self.made = 0
        self.events: Counter[Told] = Counter()
        self.loop = asyncio.new_event_loop()
        self.cleanup = contextlib.AsyncExitStack()

    @initialize()
    def begin(self) -> None:
        self.shim = self.do(self.cleanup.enter_async_context(running_shim(self.directory)))
        first = make_bundle(self.directory / "first", module=provision.guests_directory() / "hello.wasm")
        assert self.do(self.shim.run("first", first)) == 0  # from now on containerd is connected
        self.descriptors = descriptors(self.shim.pid)

    @rule(container=CONTAINERS, program=st.sampled_from(sorted(PROGRAMS)))
    def create(self, container: str, program: str) -> None:
        self.made += 1
        bundle = make_bundle(self.directory / f"{container}{self.made}", program)
        for file in provision.guests_directory().glob("*.wasm"):
            os.link(file, bundle / "rootfs" / file.name)
        answer = self.expect(
            AlreadyExists if (container, "") in self.processes else None, self.shim.create(container, bundle)
        )
        if answer:
            self.processes[container, ""] = Model(Lifecycle("init", Status.CREATED), program, pid=answer)
            self.events["create", container, ""] += 1

    @rule(container=CONTAINERS, name=EXECS.filter(bool), program=st.sampled_from(sorted(PROGRAMS)))
    def exec(self, container: str, name: str, program: str) -> None:
        refusal = self.refusal(container, "", Action.EXEC)
        if not refusal and (container, name) in self.processes:
            refusal = AlreadyExists
        self.expect(refusal, self.shim.exec(container, name, program))
        if not refusal:
            self.processes[container, name] = Model(Lifecycle("exec", Status.ADDED), program)
            self.events["exec-added", container, name] += 1

    @rule(container=CONTAINERS, name=EXECS)
    def start(self, container: str, name: str) -> None:
        refusal = self.refusal(container, name, Action.BEGIN if name else Action.START)
        if name and (container, name) in self.processes:
            refusal = self.refusal(container, "", Action.EXEC) or refusal
        pid = self.expect(refusal, self.shim.start(container, name))
        if refusal:
            return
        process = self.processes[container, name]
        for action in (Action.BEGIN, Action.CREATED, Action.START) if name else (Action.START,):
            process.lifecycle.apply(action)
        assert pid == (process.pid or pid)
        process.pid = pid
        self.events["exec-started" if name else "start", container, name] += 1
        if (code := PROGRAMS[process.program]) is not None:
            self.ended(container, name, code)

    @rule(container=CONTAINERS)
    def pause(self, container: str) -> None:
        refusal = self.refusal(container, "", Action.PAUSE)
        self.expect(refusal, self.shim.call("Pause", api.PauseRequest(id=container)))
        if not refusal:
            self.processes[container, ""].lifecycle.apply(Action.PAUSE)
            self.processes[container, ""].lifecycle.apply(Action.PAUSED)
            self.events["paused", container, ""] += 1

    @rule(container=CONTAINERS)
    def resume(self, container: str) -> None:
        refusal = self.refusal(container, "", Action.RESUME)
        self.expect(refusal, self.shim.call("Resume", api.ResumeRequest(id=container)))
        if not refusal:
            self.processes[container, ""].lifecycle.apply(Action.RESUME)
            self.events["resumed", container, ""] += 1

    @rule(container=CONTAINERS)
    def stats(self, container: str) -> None:
        missing = (container, "") not in self.processes
        self.expect(NotFound if missing else None, self.shim.call("Stats", api.StatsRequest(id=container)))

    @rule(container=CONTAINERS, megabytes=st.integers(200, 300))
    def update(self, container: str, megabytes: int) -> None:
        limit = Resources(type_url=RESOURCES_TYPE, value=b'{"memory": {"limit": %d}}' % (megabytes << 20))
        refusal = self.refusal(container, "", Action.UPDATE)
        self.expect(refusal, self.shim.call("Update", api.UpdateTaskRequest(id=container, resources=limit)))

    @rule(container=CONTAINERS, name=EXECS, signum=SIGNALS, everything=st.booleans())
    def kill(self, container: str, name: str, signum: int, everything: bool) -> None:
        if name and self.status(container, "") is Status.PAUSED:
            return  # a frozen process ends when it is resumed
        refusal = self.refusal(container, name, Action.KILL)
        self.expect(refusal, self.shim.kill(container, signum, name, everything=everything))
        if not refusal:
            self.ended(container, name, 128 + signum)

    @rule(container=CONTAINERS, name=EXECS)
    def wait(self, container: str, name: str) -> None:
        process = self.processes.get((container, name))
        if process is None:
            self.expect(NotFound, self.shim.wait(container, name))
        else:
            process.waits.append(self.loop.create_task(self.shim.wait(container, name)))

    @rule(container=CONTAINERS, name=EXECS)
    def delete(self, container: str, name: str) -> None:
        process, status = self.processes.get((container, name)), self.status(container, name)
        refusal = self.refusal(container, name, Action.DELETE)
        if status is Status.CREATED:
            refusal = None  # killed first
        answer = self.expect(refusal, self.shim.delete(container, name))
        if refusal or process is None:
            return
        if status is Status.CREATED:
            self.ended(container, name, 137, answer)
        if status is not Status.ADDED:
            assert (answer.pid, moment(answer)) == (process.pid, process.told)
        if not name:
            self.events["delete", container, name] += 1
        for key in [key for key in self.processes if key == (container, name) or (key[0] == container and not name)]:
            self.all_are_told(self.processes.pop(key))

    @rule(container=CONTAINERS, name=EXECS)
    def close_io(self, container: str, name: str) -> None:
        missing = (container, name) not in self.processes
        self.expect(NotFound if missing else None, self.shim.close_io(container, name))

    @rule(container=CONTAINERS)
    def connect(self, container: str) -> None:
        answer = self.do(self.shim.call("Connect", api.ConnectRequest(id=container)))
        process = self.processes.get((container, ""))
        assert (answer.shim_pid, answer.task_pid) == (self.shim.pid, process.pid if process else 0)

    @rule()
    def shutdown(self) -> None:
        if self.processes:
            self.do(self.shim.call("Shutdown", api.ShutdownRequest(id="a")))

    @invariant()
    def every_status_is_the_tables(self) -> None:
        for (container, name), process in self.processes.items():
            state = self.do(self.shim.state(container, name))
            assert state.status == API_STATUS[process.status], (container, name, process)
            assert state.pid == process.pid
            if process.status is Status.STOPPED:
                assert moment(state) == process.told

    @invariant()
    def pids_are_those_that_run(self) -> None:
        for container in {container for container, _ in self.processes}:
            answer = self.do(self.shim.call("Pids", api.PidsRequest(id=container)))
            running = {
                process.pid
                for (owner, name), process in self.processes.items()
                if owner == container and (not name or process.status is Status.RUNNING)
            }
            assert {process.pid for process in answer.processes} == running

    def teardown(self) -> None:
        try:
            for container in {container for container, _ in self.processes}:
                if self.status(container, "") in (Status.RUNNING, Status.PAUSED):
                    self.kill(container, "", 9, everything=False)
                self.delete(container, "")
            self.every_event_came_once_and_in_order()
            assert descriptors(self.shim.pid) == self.descriptors
            assert processes(self.shim.pid) == []
            assert not cgroups_of(self.directory)
        finally:
            self.do(self.cleanup.aclose())
            self.loop.close()
            shutil.rmtree(self.directory)

    def every_event_came_once_and_in_order(self) -> None:
        seen = self.do(self.shim.events.count(sum(self.events.values()) + 4))[4:]  # the first container's are four
        assert Counter(seen) == self.events
        assert not violation(seen)

    def status(self, container: str, name: str) -> Status | None:
        process = self.processes.get((container, name))
        return process.status if process else None

    def refusal(self, container: str, name: str, action: Action) -> type[PelagosError] | None:
        """What the table says of this action now."""
        process = self.processes.get((container, name))
        if process is None:
            return NotFound
        try:
            process.lifecycle.check(action)
        except PelagosError as error:
            return type(error)
        return None

    def expect(self, refusal: type[PelagosError] | None, call: Awaitable[Any]) -> Any:
        """Make a call that must be refused so, or answered."""
        try:
            answer = self.do(call)
        except PelagosError as error:
            assert refusal is type(error), f"{error!r}, not {refusal}"
            return None
        assert refusal is None, f"{answer!r}, not {refusal}"
        return answer

    def ended(self, container: str, name: str, code: int, answer: Any = None) -> None:
        """A process has ended: all callers of Wait get the same answer. With the init process all others end.

        answer: of the Delete that ended it, after which no call can ask any more.
        """
        process = self.processes[container, name]
        deleted = answer is not None
        answer = answer or self.do(asyncio.wait_for(self.shim.wait(container, name), 10))
        process.told = moment(answer)
        assert process.told[0] == code
        process.lifecycle.apply(Action.EXIT)
        self.events["exit", container, name] += 1
        self.all_are_told(process)
        if name:
            return
        for (owner, other), execution in self.processes.items():
            if owner == container and other and execution.status is Status.RUNNING:
                self.ended(container, other, 137, deleted and self.first_told(execution, answer))

    def first_told(self, process: Model, otherwise: Any) -> Any:
        """The answer of the first Wait, if no call can ask any more."""
        return self.do(asyncio.wait_for(process.waits[0], 10)) if process.waits else otherwise

    def all_are_told(self, process: Model) -> None:
        """Every Wait is answered; if there never was a process, with NotFound."""
        for wait in process.waits:
            try:
                told = moment(self.do(asyncio.wait_for(wait, 10)))
            except NotFound:
                told = None
            assert told == process.told
        process.waits.clear()

    def do(self, call: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(call)


TestTaskCalls = TaskCalls.TestCase
TestTaskCalls.settings = settings(
    max_examples=max(5, int(seconds(13) * EXAMPLES_PER_SECOND)),
    stateful_step_count=40,
    derandomize=SEEDED,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
