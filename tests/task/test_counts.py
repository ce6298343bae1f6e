"""What the daemon counts of its containers, by the calls of the task API, with stubs as processes."""

import asyncio
import json
import signal

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core import reasons
from pelagos_core.api import task_pb2 as api
from pelagos_core.errors import InvalidArgument, PelagosError
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.recorder import Recorder
from pelagos_core.metrics.slots import SlotFile
from pelagos_core.task.counts import Counts
from tests.support.bundles import CONFIG
from tests.support.life_cycle import backend, life_cycle
from tests.support.patience import until

PROCESS = Any(value=json.dumps(CONFIG["process"]).encode())
ID = {"id": "c1"}


class Node:
    """What the file of this test's node says, of all engines."""

    def __init__(self, place):
        self._place = place

    def of(self, family, *labels):
        with SlotFile(self._place) as file:
            (reading,) = file.readings()
        return {
            name: value
            for number, name in file_engines(self._place).items()
            if (value := reading.cells[families.cell(family, number, labels)])
        }

    def states(self):
        return {
            (name, state): count
            for state in families.STATES
            for name, count in self.of(families.CONTAINERS, state).items()
        }

    def times(self, family):
        with SlotFile(self._place) as file:
            (reading,) = file.readings()
        return {
            name: sum(reading.cells[first + 1 : first + family.width])
            for number, name in file_engines(self._place).items()
            if any(reading.cells[(first := families.cell(family, number)) : first + family.width])
        }


def file_engines(place):
    with SlotFile(place) as file:
        return file.engines()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a test's body with an engine, its service, and what it has counted."""
    place = str(tmp_path / "metrics")
    monkeypatch.setenv(slots.VARIABLE, place)

    def run(body):
        async def running():
            with life_cycle(tmp_path, backend()) as engine:
                engine.launcher.metrics = recorder = Recorder.of_node()
                service = engine.service()
                try:
                    await body(engine, service, Node(place))
                    await service.end()
                    assert not Node(place).states()
                finally:
                    recorder.close()

        asyncio.run(running())

    return run


def test_a_container_from_create_to_delete(run):
    async def body(engine, service, node):
        engine.launcher.gate.clear()
        creating = asyncio.ensure_future(service.create(engine.request()))
        await until(lambda: engine.guests)
        assert node.states() == {("", "creating"): 1}
        engine.launcher.gate.set()
        await creating
        assert node.states() == {("stub", "created"): 1}
        await service.start(api.StartRequest(**ID))
        assert node.states() == {("stub", "running"): 1}
        engine.guests[0].exit(3)
        await service.wait(api.WaitRequest(**ID))
        assert node.states() == {("stub", "stopped"): 1}
        await service.delete(api.DeleteRequest(**ID))
        assert node.states() == {}
        assert node.of(families.EXITS, "container", "error") == {"stub": 1}
        assert node.times(families.CREATE_SECONDS) == node.times(families.START_SECONDS) == {"stub": 1}

    run(body)


def test_a_pause_is_a_state(run):
    async def body(engine, service, node):
        await service.create(engine.request())
        await service.start(api.StartRequest(**ID))
        engine.cgroup.freezes = True
        await service.pause(api.PauseRequest(**ID))
        assert node.states() == {("stub", "paused"): 1}
        await service.resume(api.ResumeRequest(**ID))
        assert node.states() == {("stub", "running"): 1}

    run(body)


@pytest.mark.parametrize(("code", "cause"), [(0, "success"), (7, "error"), (134, "trap"), (137, "signal")])
def test_an_exec_and_its_end(run, code, cause):
    async def body(engine, service, node):
        await service.create(engine.request())
        await service.start(api.StartRequest(**ID))
        await service.exec(api.ExecProcessRequest(id="c1", exec_id="e1", spec=PROCESS))
        await service.start(api.StartRequest(id="c1", exec_id="e1"))
        engine.guests[1].exit(code)
        await service.wait(api.WaitRequest(id="c1", exec_id="e1"))
        assert node.of(families.EXITS, "exec", cause) == {"stub": 1}
        assert node.times(families.EXEC_SECONDS) == {"stub": 1}
        assert node.states() == {("stub", "running"): 1}

    run(body)


@pytest.mark.parametrize("reason", [reasons.ENTRYPOINT, "", "PLG-INVENTED"])
def test_a_create_that_fails_is_counted_by_its_reason(run, reason):
    async def body(engine, service, node):
        engine.launcher.error = InvalidArgument("no", reason)
        with pytest.raises(PelagosError):
            await service.create(engine.request())
        assert node.states() == {}
        known = reason if reason in reasons.ALL else families.NO_REASON
        assert node.of(families.CREATE_FAILURES, known)[""] == 1
        assert node.times(families.CREATE_SECONDS) == {}

    run(body)


def test_an_exec_that_cannot_be_started_has_no_end(run):
    async def body(engine, service, node):
        await service.create(engine.request())
        await service.start(api.StartRequest(**ID))
        await service.exec(api.ExecProcessRequest(id="c1", exec_id="e1", spec=PROCESS))
        engine.launcher.error = InvalidArgument("no")
        with pytest.raises(PelagosError):
            await service.start(api.StartRequest(id="c1", exec_id="e1"))
        assert not [cause for cause in families.CAUSES if node.of(families.EXITS, "exec", cause)]
        assert node.times(families.EXEC_SECONDS) == {}

    run(body)


def test_a_killed_one_and_one_that_the_daemon_ends(run):
    async def body(engine, service, node):
        for name in ("c1", "c2"):
            await service.create(engine.request(name))
            await service.start(api.StartRequest(id=name))
        await service.kill(api.KillRequest(id="c1", signal=signal.SIGKILL))
        await service.wait(api.WaitRequest(id="c1"))
        assert node.of(families.EXITS, "container", "signal") == {"stub": 1}
        assert node.states() == {("stub", "stopped"): 1, ("stub", "running"): 1}

    run(body)


def test_off_follows_nothing(tmp_path):
    async def body():
        with life_cycle(tmp_path, backend()) as engine:
            service = engine.service()
            await service.create(engine.request())
            assert service._containers["c1"].init._lifecycle.moved is None
            await service.end()

    asyncio.run(body())
    assert not Counts(Recorder())._recorder.is_on
