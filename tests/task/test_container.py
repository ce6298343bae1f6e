"""A container, with stubs for its launches and its control group: its processes, their order, what is left."""

import asyncio
import os
import signal
import subprocess
from dataclasses import replace

import pytest

from pelagos_core import reasons
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
)
from pelagos_core.oci import Resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.shim import record
from pelagos_core.task import container as container_module
from pelagos_core.task import events
from pelagos_core.task.container import Container
from pelagos_core.task.state import Status
from pelagos_core.task.streams.stdio import StdioPaths
from tests.support.bundles import Fifos, change_config
from tests.support.event_order import violation
from tests.support.life_cycle import backend, life_cycle
from tests.support.patience import until


@pytest.fixture
def run(tmp_path):
    """Runs a test's body with an engine and a container that is to be created; nothing is left at the end."""

    def run(body, **config):
        async def running():
            with life_cycle(tmp_path, backend()) as engine:
                path = engine.bundle()
                change_config(path, **config)
                bundle = Bundle.load(str(path), "c1", "ns")
                selection = Selection(engine.node.backends, Preference("stub", "a test"))
                cache = engine.node.config.cache
                container = Container(bundle, selection, cache, StdioPaths(), engine.facilities)
                await body(engine, container)
                await container.end()
                assert all(guest.is_reaped for guest in engine.guests)
                assert not engine.cgroup.is_made
                assert not os.path.exists(path / record.NAME)
                assert not violation(engine.told)

        asyncio.run(running())

    return run


async def created(engine, container):
    """A container that waits for Start, with the event that its service publishes."""
    await container.create()
    engine.publish(events.task_create("c1", "/b", [], StdioPaths(), container.init.pid))


async def started(engine, container, *exec_ids):
    """A container that runs, with these execs in it."""
    await created(engine, container)
    await container.start()
    for exec_id in exec_ids:
        container.add(exec_id, container.bundle.spec.process, StdioPaths())
        await container.start(exec_id)
    return engine.guests


def test_the_record_names_what_is_there(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        groups, processes, init = record.read(container.bundle.path)
        assert groups == list(engine.cgroup.paths)
        assert [pid for pid, _ in processes] == [guest.pid for guest in engine.guests]
        assert init == container.init.pid
        engine.guests[1].exit(0)
        await container.process("e1").wait()
        assert [pid for pid, _ in record.read(container.bundle.path)[1]] == [container.init.pid]

    run(body)


def test_the_end_of_the_first_process_is_everybodys(run):
    """The others are killed, and their exits are published first."""

    async def body(engine, container):
        guests = await started(engine, container, "e1", "e2")
        guests[0].exit(0)
        status = await container.init.wait()
        assert status.code == 0
        assert {container.process(each).exit.code for each in ("e1", "e2")} == {137}
        assert sorted(engine.topics[-3:-1]) == ["exit e1", "exit e2"]
        assert engine.topics[-1] == "exit"

    run(body)


def test_what_the_guest_has_started_is_ended_with_it(run):
    async def body(engine, container):
        guests = await started(engine, container)
        with subprocess.Popen(["/bin/sleep", "60"]) as other:
            engine.cgroup.others.append(other.pid)
            assert container.pids() == sorted([guests[0].pid, other.pid])
            guests[0].exit(0)
            await container.init.wait()
            assert other.wait() == -signal.SIGKILL
        engine.cgroup.others.clear()

    run(body, linux={"namespaces": [{"type": "mount"}]})


def test_a_signal_to_all_is_for_each_process(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        with subprocess.Popen(["/bin/sleep", "60"]) as other:
            engine.cgroup.others.append(other.pid)
            container.kill(signal.SIGTERM, everything=True)
            assert other.wait() == -signal.SIGTERM
        engine.cgroup.others.clear()
        assert (await container.init.wait()).code == 128 + signal.SIGTERM
        assert container.process("e1").exit.code == 128 + signal.SIGTERM

    run(body)


def test_a_signal_to_the_first_process_is_for_it_alone(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        container.kill(signal.SIGWINCH, everything=False)
        container.kill(0, everything=True)
        assert {container.status, container.process("e1").status} == {Status.RUNNING}

    run(body)


def test_an_exec_id_is_one_processes_until_it_is_deleted(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        with pytest.raises(AlreadyExists, match="process 'e1' already exists"):
            container.add("e1", container.bundle.spec.process, StdioPaths())
        engine.guests[1].exit(0)
        await container.process("e1").wait()
        await container.delete_exec("e1")
        with pytest.raises(NotFound, match="container 'c1' has no process 'e1'"):
            container.process("e1")
        container.add("e1", container.bundle.spec.process, StdioPaths())

    run(body)


def test_an_exec_runs_by_the_first_processes_backend_if_that_can(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        first, other = engine.launcher.launches
        assert (first.find_target, other.selection.first) == (None, "stub")
        assert other.find_target().pidfd == container.init.pidfd

    run(body)


def test_an_exec_that_fails_is_stopped_for_its_delete(run, tmp_path):
    fifos = Fifos(tmp_path)

    async def body(engine, container):
        await started(engine, container)
        container.add("e1", container.bundle.spec.process, StdioPaths(stdout=fifos.stdout, stderr=fifos.stderr))
        engine.launcher.error = InvalidArgument("no such thing", reasons.MODULE)
        with pytest.raises(InvalidArgument, match="no such thing"):
            await container.start("e1")
        assert fifos.output()[1] == "pelagos: no such thing [PLG-MODULE]\n"
        assert container.process("e1").status is Status.STOPPED
        assert (await container.process("e1").wait()).code == 255
        with pytest.raises(FailedPrecondition, match="cannot be started, it is stopped"):
            await container.start("e1")
        assert (await container.delete_exec("e1")).code == 255
        assert container.status is Status.RUNNING
        assert engine.topics == ["create", "start", "exec-added e1"]

    run(body)
    fifos.close()


def test_an_exec_on_its_way_ends_with_its_container(run):
    async def body(engine, container):
        await started(engine, container)
        container.add("e1", container.bundle.spec.process, StdioPaths())
        engine.launcher.gate.clear()
        starting = asyncio.ensure_future(container.start("e1"))
        await until(lambda: len(engine.guests) == 2)
        engine.guests[0].exit(0)
        with pytest.raises(FailedPrecondition, match="exec 'e1' of container 'c1': cannot start, its container has"):
            await starting
        await container.init.wait()
        assert container.process("e1").status is Status.STOPPED

    run(body)


def test_no_exec_is_added_to_a_container_that_has_ended(run):
    async def body(engine, container):
        guests = await started(engine, container)
        guests[0].exit(0)
        await container.init.wait()
        with pytest.raises(FailedPrecondition, match="cannot exec, it is stopped"):
            container.add("e1", container.bundle.spec.process, StdioPaths())

    run(body)


def test_pause_and_resume(run):
    async def body(engine, container):
        await started(engine, container)
        engine.cgroup.freezes = True
        await container.pause()
        assert (container.status, engine.cgroup.frozen) == (Status.PAUSED, True)
        container.resume()
        assert (container.status, engine.cgroup.frozen) == (Status.RUNNING, False)
        assert engine.topics[-2:] == ["paused", "resumed"]

    run(body)


def test_a_container_that_does_not_stop_goes_on(run, monkeypatch):
    monkeypatch.setattr(container_module, "_FREEZE_RETRY_SECONDS", (0.0, 0.001))

    async def body(engine, container):
        await started(engine, container)
        with pytest.raises(DeadlineExceeded, match="its processes do not stop"):
            await container.pause()
        assert container.status is Status.RUNNING

    run(body)


def test_a_container_that_ends_while_it_is_paused_is_stopped(run):
    async def body(engine, container):
        guests = await started(engine, container)
        pausing = asyncio.ensure_future(container.pause())
        await asyncio.sleep(0)
        assert container.status is Status.PAUSING
        guests[0].exit(0)
        with pytest.raises(FailedPrecondition, match="it is stopped"):
            await pausing
        assert container.status is Status.STOPPED

    run(body)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_what_ends_a_guest_takes_it_out_of_its_pause(run, signum):
    async def body(engine, container):
        await started(engine, container)
        engine.cgroup.freezes = True
        await container.pause()
        container.kill(signum, everything=False)
        assert not engine.cgroup.frozen
        assert (await container.init.wait()).code == 128 + signum

    run(body)


def test_an_update_of_memory_asks_each_process(run, monkeypatch):
    async def body(engine, container):
        await started(engine, container, "e1")
        asked = []
        for process in (container.init, container.process("e1")):
            monkeypatch.setattr(process, "check_memory_can_change", lambda name=process.name: asked.append(name))
        resources = Resources()
        await container.update(replace(resources, memory=replace(resources.memory, limit=4096)))
        assert asked == ["container 'c1'", "exec 'e1' of container 'c1'"]
        assert engine.cgroup.limit == 4096

    run(body)


def test_a_delete_before_start_kills(run):
    async def body(engine, container):
        await created(engine, container)
        assert (await container.delete()).code == 137
        assert container.status is Status.DELETED

    run(body)


def test_a_running_container_is_not_deleted(run):
    async def body(engine, container):
        await started(engine, container, "e1")
        with pytest.raises(FailedPrecondition, match="cannot delete, it is running"):
            await container.delete()
        with pytest.raises(FailedPrecondition, match="cannot delete, it is running"):
            await container.delete_exec("e1")

    run(body)


def test_a_control_group_in_use_is_left_alone(run):
    async def body(engine, container):
        engine.cgroup.others.append(1)
        engine.cgroup.is_made = True
        with pytest.raises(FailedPrecondition, match=r"in use \[PLG-CGROUP\]"):
            await container.create()
        assert engine.cgroup.is_made
        assert container.status is Status.DELETED
        engine.cgroup.is_made = False

    run(body)


@pytest.mark.parametrize("where", ["plan", "group", "launch"])
def test_a_create_that_fails_leaves_nothing(run, where, monkeypatch):
    async def body(engine, container):
        error = Internal("no", reasons.ISOLATION)
        if where == "group":
            engine.cgroup.error = error
        if where == "launch":
            engine.launcher.error = error
        if where == "plan":
            monkeypatch.setattr(container_module, "plan", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(Internal, match="no") as raised:
            await container.create()
        assert raised.value.reason == reasons.ISOLATION
        assert container.status is Status.DELETED
        with pytest.raises(NotFound, match="was never created"):
            await container.init.wait()

    run(body)


def test_the_end_of_the_daemon_cancels_a_create(run):
    async def body(engine, container):
        engine.launcher.gate.clear()
        creating = asyncio.ensure_future(container.create())
        await until(lambda: engine.guests)
        await container.end()
        with pytest.raises(Cancelled):
            await creating
        assert container.status is Status.DELETED

    run(body)


def hook(line):
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat > /dev/null; {line}"]}


def test_hooks_of_the_runtime_are_run_after_start_and_after_delete(run, tmp_path):
    seen = tmp_path / "seen"
    hooks = {
        "poststart": [hook(f"echo start >> {seen}")],
        "poststop": [hook("exit 1"), hook(f"echo stop >> {seen}")],
    }

    async def body(engine, container):
        await started(engine, container)
        assert seen.read_text() == "start\n"
        await container.end()
        assert seen.read_text() == "start\nstop\n"

    run(body, hooks=hooks)


def test_a_poststart_hook_that_fails_ends_the_container(run):
    async def body(engine, container):
        await created(engine, container)
        with pytest.raises(FailedPrecondition, match=r"exit code 3.*\[PLG-HOOK\]"):
            await container.start()
        assert (await container.init.wait()).code == 137

    run(body, hooks={"poststart": [hook("exit 3")]})
