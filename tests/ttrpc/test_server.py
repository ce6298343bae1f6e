"""A server and a client over a real Unix socket."""

import asyncio
import contextlib
import os
import socket
import tempfile

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from pelagos_core.ttrpc import server as server_module
from pelagos_core.ttrpc.client import Client
from pelagos_core.ttrpc.server import Server
from pelagos_core.ttrpc.service import Service
from tests.support.patience import until

TASK = api.DESCRIPTOR.services_by_name["Task"]
NAME = "containerd.task.v2.Task"


class Answers:
    """A task service in which each method goes wrong, or well, in its own way."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.waiting = 0

    async def wait(self, request):
        self.waiting += 1
        await self.gate.wait()
        return api.WaitResponse(exit_status=7)

    async def connect(self, request):
        return api.ConnectResponse(version=request.id)

    async def state(self, request):
        raise NotFound(f"container {request.id!r} does not exist")

    async def kill(self, request):
        raise ZeroDivisionError("a fault of ours")

    async def pids(self, request):
        return api.ConnectResponse(version="x" * (5 << 20))

    async def start(self, request):
        raise FileNotFoundError(2, "No such file or directory", "/x")


@contextlib.asynccontextmanager
async def serving():
    answers = Answers()
    server = Server([Service(NAME, TASK, answers)])
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        path = f"{directory}/s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        server.start(listener)
        try:
            yield server, answers, path
        finally:
            answers.gate.set()
            await server.close(1)
            await until(lambda: server.connections == 0)


async def client_of(path, name=NAME):
    return await Client.connect(path, Service(name, TASK))


async def test_a_call_that_waits_keeps_no_other_from_being_answered():
    async with serving() as (_, answers, path), await client_of(path) as client:
        waiting = [asyncio.ensure_future(client.call("Wait")) for _ in range(3)]
        await until(lambda: answers.waiting == 3)
        assert (await client.call("Connect", api.ConnectRequest(id="me"))).version == "me"
        answers.gate.set()
        assert [status.exit_status for status in await asyncio.gather(*waiting)] == [7, 7, 7]


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        ("State", NotFound, "container 'c1' does not exist"),
        ("Exec", Unimplemented, "method Exec"),
        ("Kill", Internal, "ZeroDivisionError: a fault of ours"),
        ("Pids", Internal, "the answer of .* is too large"),
        ("Start", NotFound, "/x"),
    ],
)
async def test_errors_come_back_as_what_they_were(method, error, message):
    async with serving() as (_, _, path), await client_of(path) as client:
        with pytest.raises(error, match=message):
            await client.call(method, getattr(api, f"{'ExecProcess' if method == 'Exec' else method}Request")(id="c1"))
        assert (await client.call("Connect", api.ConnectRequest(id="on"))).version == "on"


async def test_a_client_sees_the_end_before_whatever_the_server_does_next():
    async with serving() as (server, _, path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            await until(lambda: server.connections == 1)
            await server.close(1)
            client.setblocking(False)
            assert client.recv(1) == b""


async def test_an_unknown_service_is_not_implemented():
    async with serving() as (_, _, path), await client_of(path, "no.such.Service") as client:
        with pytest.raises(Unimplemented, match=r"service no\.such\.Service"):
            await client.call("State")


async def test_an_answer_without_a_task_is_the_error_or_none():
    async with serving() as (_, _, path), await client_of(path) as client:
        told = []
        for method in ("Connect", "State", "Wait"):
            client.ask(method, api.ConnectRequest(id="c1"), told.append)
        await until(lambda: len(told) == 2)
        assert (told[0], type(told[1])) == (None, NotFound)
        client.close()
        await until(lambda: len(told) == 3)
        assert type(told[2]) is Unavailable
        with pytest.raises(Unavailable):
            client.ask("Connect", api.ConnectRequest(), told.append)


async def test_a_client_of_two_services_has_one_connection():
    async with serving() as (server, _, path), await client_of(path, "no.such.Service") as client:
        assert (await client.of(Service(NAME, TASK)).call("Connect", api.ConnectRequest(id="c1"))).version == "c1"
        assert server.connections == 1


async def test_a_call_beyond_its_deadline_gets_an_error_and_continues():
    async with serving() as (server, answers, path), await client_of(path) as client:
        request = server_module.ttrpc_pb2.Request(service=NAME, method="Wait", timeout_nano=20_000_000)
        answers_of = []
        client._protocol.send(request.SerializeToString(), answers_of.append)
        await until(lambda: answers_of)
        status = server_module.ttrpc_pb2.Response.FromString(answers_of[0]).status
        assert (status.code, status.message) == (DeadlineExceeded.code, "method Wait: not done in 0.02 s")
        assert answers.waiting == 1
        with pytest.raises(asyncio.TimeoutError):
            await client.call("Wait", timeout=0.02)
        assert server.connections == 1


async def test_too_many_requests_at_a_time_are_refused(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_REQUESTS", 2)
    async with serving() as (_, answers, path), await client_of(path) as client:
        waiting = [asyncio.ensure_future(client.call("Wait")) for _ in range(2)]
        await until(lambda: answers.waiting == 2)
        with pytest.raises(ResourceExhausted, match="over 2 requests"):
            await client.call("Connect")
        answers.gate.set()
        await asyncio.gather(*waiting)


async def test_a_client_that_leaves_with_calls_open_is_forgotten():
    async with serving() as (server, answers, path):
        client = await client_of(path)
        waiting = asyncio.ensure_future(client.call("Wait"))
        await until(lambda: answers.waiting == 1)
        client.close()
        with pytest.raises(Unavailable, match="connection was closed"):
            await waiting
        await until(lambda: server.connections == 0)
        with pytest.raises(Unavailable, match="closed"):
            await client.call("Connect")


async def test_connections_that_come_and_go_leave_nothing():
    async with serving() as (server, _, path):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            async with await client_of(path) as client:
                await client.call("Connect")
        await until(lambda: server.connections == 0)
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_missing_server_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match=r"socket .*nothing"):
        await client_of(str(tmp_path / "nothing"))


async def test_a_payload_that_is_no_message_is_refused_by_name():
    envelope = server_module.ttrpc_pb2.Request(service=NAME, method="Connect", payload=b"\xff")
    with pytest.raises(InvalidArgument, match="payload is not a ConnectRequest"):
        await Server([Service(NAME, TASK, Answers())]).call(envelope)
