"""The task API's calls, on containers whose processes are stubs: answers, errors, and calls that meet."""

import asyncio
import contextlib
import json
import shutil
import signal

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core import reasons
from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.api.inspection_pb2 import BackendRequest, BackendResponse
from pelagos_core.errors import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from pelagos_core.task.service import RESOURCES_TYPE
from tests.support.bundles import CONFIG, change_config
from tests.support.event_order import violation
from tests.support.life_cycle import backend, life_cycle
from tests.support.patience import until

PROCESS = Any(value=json.dumps(CONFIG["process"]).encode())


@pytest.fixture
def run(tmp_path):
    """Runs a test's body with an engine and its service; asserts that no process is left unreaped at its end."""

    def run(body):
        async def running():
            with life_cycle(tmp_path, backend()) as engine:
                service = engine.service()
                await body(engine, service)
                await service.end()
                assert all(guest.is_reaped for guest in engine.guests)
                assert not violation(engine.told)

        asyncio.run(running())

    return run


def of(name="c1", exec_id=""):
    return {"id": name, "exec_id": exec_id}


async def state(service, exec_id=""):
    return await service.state(api.StateRequest(**of(exec_id=exec_id)))


async def kill(service, signum=signal.SIGKILL, **fields):
    await service.kill(api.KillRequest(**{**of(), "signal": signum, **fields}))


def test_a_task_from_create_to_delete(run):
    async def body(engine, service):
        created = await service.create(engine.request(stdin="", stdout="", stderr=""))
        assert (await state(service)).status == types_pb2.CREATED
        waiting = asyncio.ensure_future(service.wait(api.WaitRequest(**of())))
        assert not engine.guests[0].runs
        started = await service.start(api.StartRequest(**of()))
        assert engine.guests[0].runs
        assert created.pid == started.pid == engine.guests[0].pid
        assert (await state(service)).status == types_pb2.RUNNING
        engine.guests[0].exit(7)
        assert (await waiting).exit_status == 7
        seen = await state(service)
        assert (seen.status, seen.exit_status, seen.pid) == (types_pb2.STOPPED, 7, created.pid)
        deleted = await service.delete(api.DeleteRequest(**of()))
        assert (deleted.exit_status, deleted.pid, deleted.exited_at) == (7, created.pid, seen.exited_at)
        assert engine.topics == ["create", "start", "exit", "delete"]
        assert not engine.cgroup.is_made
        with pytest.raises(NotFound, match="container 'c1' does not exist"):
            await state(service)

    run(body)


def test_an_exec_from_exec_to_delete(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.start(api.StartRequest(**of()))
        await service.exec(api.ExecProcessRequest(**of(exec_id="e1"), spec=PROCESS))
        assert (await state(service, "e1")).status == types_pb2.CREATED
        assert (await state(service, "e1")).pid == 0
        started = await service.start(api.StartRequest(**of(exec_id="e1")))
        assert started.pid == engine.guests[1].pid
        pids = await service.pids(api.PidsRequest(id="c1"))
        assert {process.pid for process in pids.processes} >= {engine.guests[0].pid}
        engine.guests[1].exit(3)
        assert (await service.wait(api.WaitRequest(**of(exec_id="e1")))).exit_status == 3
        assert (await service.delete(api.DeleteRequest(**of(exec_id="e1")))).exit_status == 3
        with pytest.raises(NotFound, match="container 'c1' has no process 'e1'"):
            await state(service, "e1")
        assert (await state(service)).status == types_pb2.RUNNING
        assert engine.topics == ["create", "start", "exec-added e1", "exec-started e1", "exit e1"]

    run(body)


def test_an_exec_that_was_never_started_is_deleted_without_a_status(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.exec(api.ExecProcessRequest(**of(exec_id="e1"), spec=PROCESS))
        waiting = asyncio.ensure_future(service.wait(api.WaitRequest(**of(exec_id="e1"))))
        await asyncio.sleep(0)
        assert await service.delete(api.DeleteRequest(**of(exec_id="e1"))) == api.DeleteResponse()
        with pytest.raises(NotFound, match="was never started"):
            await waiting

    run(body)


def test_a_paused_containers_processes_are_shown_paused(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.start(api.StartRequest(**of()))
        await service.exec(api.ExecProcessRequest(**of(exec_id="e1"), spec=PROCESS))
        await service.start(api.StartRequest(**of(exec_id="e1")))
        engine.cgroup.freezes = True
        await service.pause(api.PauseRequest(id="c1"))
        assert {(await state(service, each)).status for each in ("", "e1")} == {types_pb2.PAUSED}
        with pytest.raises(FailedPrecondition, match="cannot exec, it is paused"):
            await service.exec(api.ExecProcessRequest(**of(exec_id="e2"), spec=PROCESS))
        await service.resume(api.ResumeRequest(id="c1"))
        assert {(await state(service, each)).status for each in ("", "e1")} == {types_pb2.RUNNING}

    run(body)


@pytest.mark.parametrize(
    ("fields", "kind", "match"),
    [
        ({"id": "../c"}, InvalidArgument, "id"),
        ({"checkpoint": "/x"}, Unimplemented, "checkpoint"),
        ({"bundle": "/proc/none/such"}, NotFound, "container 'c1': .*config.json"),
        ({"bundle": "relative"}, InvalidArgument, "not an absolute path"),
    ],
)
def test_a_create_that_cannot_be_leaves_nothing(run, fields, kind, match):
    async def body(engine, service):
        request = engine.request()
        request.MergeFrom(api.CreateTaskRequest(**fields))
        with pytest.raises(kind, match=match) as raised:
            await service.create(request)
        assert raised.value.reason == reasons.SPEC
        assert service.idle
        assert not engine.published

    run(body)


def test_an_id_is_one_containers_at_a_time(run):
    async def body(engine, service):
        request = engine.request()
        await service.create(request)
        with pytest.raises(AlreadyExists, match="container 'c1' already exists"):
            await service.create(request)
        await service.delete(api.DeleteRequest(**of()))
        await service.create(request)
        assert (await state(service)).status == types_pb2.CREATED

    run(body)


def test_a_control_group_is_one_containers(run):
    async def body(engine, service):
        for name in ("c1", "c2"):
            engine.bundle(name)
            change_config(engine.directory / name, linux={**CONFIG["linux"], "cgroupsPath": "/same"})
        await service.create(api.CreateTaskRequest(id="c1", bundle=str(engine.directory / "c1")))
        with pytest.raises(FailedPrecondition, match="is in use by container 'c1'"):
            await service.create(api.CreateTaskRequest(id="c2", bundle=str(engine.directory / "c2")))

    run(body)


def test_a_launch_that_fails_leaves_no_container(run):
    async def body(engine, service):
        engine.launcher.error = Internal("container 'c1': no", reasons.MOUNT)
        with pytest.raises(Internal, match=r"no \[PLG-MOUNT\]"):
            await service.create(engine.request())
        with pytest.raises(NotFound):
            await state(service)
        assert not engine.published
        assert not engine.cgroup.is_made

    run(body)


def test_calls_meet_a_container_that_is_being_created(run):
    async def body(engine, service):
        engine.launcher.gate.clear()
        creating = asyncio.ensure_future(service.create(engine.request()))
        await until(lambda: engine.guests)
        assert (await state(service)).status == types_pb2.CREATED
        for call in (
            service.start(api.StartRequest(**of())),
            service.delete(api.DeleteRequest(**of())),
            service.pause(api.PauseRequest(id="c1")),
            service.exec(api.ExecProcessRequest(**of(exec_id="e1"), spec=PROCESS)),
        ):
            with pytest.raises(FailedPrecondition, match="it is being created"):
                await call
        await service.shutdown(api.ShutdownRequest(id="c1"))
        assert not engine.shutdowns
        waiting = asyncio.ensure_future(service.wait(api.WaitRequest(**of())))
        await kill(service, signal.SIGTERM)
        with pytest.raises(Cancelled, match="killed while it was being created"):
            await creating
        with pytest.raises(NotFound, match="was never created"):
            await waiting
        with pytest.raises(NotFound):
            await kill(service)

    run(body)


def test_a_kill_before_there_is_a_process_is_refused(run, monkeypatch):
    async def body(engine, service):
        begin = engine.launcher.begin

        def begin_later(launch):
            conversation = begin(launch)
            ran = conversation.run

            async def later():
                await asyncio.sleep(0.02)
                return await ran()

            conversation.run = later
            return conversation

        monkeypatch.setattr(engine.launcher, "begin", begin_later)
        creating = asyncio.ensure_future(service.create(engine.request()))
        await until(lambda: engine.launcher.launches)
        with pytest.raises(FailedPrecondition, match="it has no process yet"):
            await kill(service)
        await creating

    run(body)


@pytest.mark.parametrize("signum", [-1, 65])
def test_a_number_that_is_no_signal_is_refused(run, signum):
    async def body(engine, service):
        await service.create(engine.request())
        with pytest.raises(InvalidArgument, match="is not a signal"):
            service._find("c1").kill(signum, everything=False)

    run(body)


def test_a_kill_of_an_ended_task_is_not_found(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.start(api.StartRequest(**of()))
        await kill(service, signal.SIGTERM)
        assert (await service.wait(api.WaitRequest(**of()))).exit_status == 128 + signal.SIGTERM
        with pytest.raises(NotFound):
            await kill(service)
        with pytest.raises(FailedPrecondition, match="cannot start, it is stopped"):
            await service.start(api.StartRequest(**of()))

    run(body)


def test_many_may_wait_and_each_is_answered(run):
    async def body(engine, service):
        await service.create(engine.request())
        waits = [asyncio.ensure_future(service.wait(api.WaitRequest(**of()))) for _ in range(20)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await service.start(api.StartRequest(**of()))
        engine.guests[0].exit(1)
        assert {answer.exit_status for answer in await asyncio.gather(*waits[1:])} == {1}

    run(body)


def test_only_one_delete_is_answered(run):
    async def body(engine, service):
        await service.create(engine.request())
        answers = await asyncio.gather(
            *[service.delete(api.DeleteRequest(**of())) for _ in range(3)], return_exceptions=True
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["DeleteResponse", "NotFound", "NotFound"]
        assert engine.topics == ["create", "exit", "delete"]

    run(body)


def test_an_update_names_the_type_that_it_does_not_know(run):
    async def body(engine, service):
        await service.create(engine.request())
        with pytest.raises(InvalidArgument, match="resources of type 'odd'"):
            await service.update(api.UpdateTaskRequest(id="c1", resources=Any(type_url="odd")))
        limit = Any(type_url=RESOURCES_TYPE, value=b'{"memory": {"limit": 4096}}')
        await service.update(api.UpdateTaskRequest(id="c1", resources=limit))
        assert engine.cgroup.limit == 4096

    run(body)


def test_our_own_service_returns_the_backend_of_each_process(run):
    async def body(engine, service):
        assert "pelagos.v1.Inspection" in [each.name for each in service.services()]
        with pytest.raises(NotFound):
            await service.backend(BackendRequest(id="c1"))
        await service.create(engine.request())
        await service.exec(api.ExecProcessRequest(**of(exec_id="e1"), spec=PROCESS))
        assert await service.backend(BackendRequest(id="c1")) == BackendResponse(backend="stub", reason="a stub")
        assert await service.backend(BackendRequest(**of(exec_id="e1"))) == BackendResponse()  # it is not started

    run(body)


def test_connect_never_fails(run):
    async def body(engine, service):
        assert (await service.connect(api.ConnectRequest(id="c1"))).task_pid == 0
        created = await service.create(engine.request())
        assert (await service.connect(api.ConnectRequest(id="c1"))).task_pid == created.pid

    run(body)


def test_shutdown_waits_for_the_last_container(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.shutdown(api.ShutdownRequest(id="c1"))
        assert (engine.shutdowns, service.idle_seconds) == (0, 0.0)
        await service.delete(api.DeleteRequest(**of()))
        await service.shutdown(api.ShutdownRequest(id="c1"))
        assert engine.shutdowns == 1

    run(body)


def test_a_daemon_that_leaves_takes_no_container(run):
    async def body(engine, service):
        request = engine.request()
        service.refuse()
        with pytest.raises(Unavailable, match="shutting down"):
            await service.create(request)

    run(body)


def test_the_end_of_the_daemon_ends_each_container(run):
    async def body(engine, service):
        await service.create(engine.request("c1"))
        await service.create(engine.request("c2"))
        await service.start(api.StartRequest(**of("c2")))
        engine.launcher.gate.clear()
        creating = asyncio.ensure_future(service.create(engine.request("c3")))
        await until(lambda: len(engine.guests) == 3)
        await service.end()
        with contextlib.suppress(Cancelled):
            await creating
        assert all(guest.is_reaped for guest in engine.guests)
        assert len([told for told in engine.told if told[0] == "delete"]) == 2

    run(body)


def test_an_ended_container_without_a_bundle_is_forgotten(run):
    async def body(engine, service):
        await service.create(engine.request())
        await service.start(api.StartRequest(**of()))
        shutil.rmtree(engine.directory / "c1")
        await service.remove_abandoned()
        assert not service.idle
        engine.guests[0].exit(0)
        await service.wait(api.WaitRequest(**of()))
        await service.remove_abandoned()
        assert service.idle
        assert engine.shutdowns == 1

    run(body)
