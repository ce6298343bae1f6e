"""A service whose engine runs only while there are requests: started by them, ended when idle, and no request lost."""

import asyncio
import contextlib
import functools
import http.client
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from pelagos_core.errors import FailedPrecondition
from tests.integration.test_http import ask, ended, running
from tests.support.http_load import PORT, Load, answer, inside
from tests.support.patience import until

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.services]

IDLE = {"scale-to-zero": "400ms"}


def engines_of(pid):
    """The programs that run in a container now."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += (task / "children").read_text().split()
    return {int(number) for number in found}


async def test_it_runs_while_there_are_requests(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)
        assert not engines_of(pid)
        began = time.monotonic()
        assert ask(pid) == (200, "hello\n")
        print(f"cold answer: {(time.monotonic() - began) * 1000:.0f} ms")
        first, before = engines_of(pid), sorted(os.listdir(tmp_path / "c1/rootfs"))
        assert len(first) == 1
        assert ask(pid) == (200, "hello\n")
        assert engines_of(pid) == first
        await until(lambda: not engines_of(pid), 10)
        assert ask(pid) == (200, "hello\n")
        assert engines_of(pid).isdisjoint(first)
        # A second engine's files are no more in a guest's reach than a first one's.
        for path in ("/engine", "/usr/bin", "/lib64", "/proc/self/maps"):
            assert "No such file" in ask(pid, f"/file?{path}")[1]
        assert sorted(os.listdir(tmp_path / "c1/rootfs")) == before
        assert (await node.shim.state("c1")).status == 2
        assert node.output() == ("", "")
        await node.shim.kill("c1", signal.SIGTERM)
        assert await ended(node.shim) == 0


async def test_clients_stay_connected_while_it_rests(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)

        def keep():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
            said, programs = [], set()
            for _ in range(3):
                said.append(answer(connection))
                port = connection.sock.getsockname()
                programs |= engines_of(pid)
                time.sleep(0.9)
                assert not engines_of(pid)
            connection.close()
            return said, len(programs), port

        said, programs, _ = await asyncio.to_thread(inside, pid, keep)
        assert said == [(200, "hello\n")] * 3
        assert programs == 3


async def test_a_slow_answer_keeps_it_and_a_burst_wakes_it_once(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)
        slow = await asyncio.to_thread(ask, pid, "/sleep?1500")
        assert slow[0] == 200
        await until(lambda: not engines_of(pid), 10)
        answers = await asyncio.gather(*(asyncio.to_thread(ask, pid) for _ in range(24)))
        assert answers == [(200, "hello\n")] * 24
        assert len(engines_of(pid)) == 1


async def test_an_answer_with_pauses_and_a_second_request_are_not_cut(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)
        stream = asyncio.ensure_future(asyncio.to_thread(ask, pid, "/stream?700"))
        pipelined = await asyncio.to_thread(inside, pid, functools.partial(_pipelined, b"/", b"/sleep?1500"))
        assert pipelined.count(b"HTTP/1.1 200 OK") == 2
        assert b"slept" in pipelined
        assert await stream == (200, "chunk\n" * 10)
        await until(lambda: not engines_of(pid), 10)
        assert ask(pid) == (200, "hello\n")
        assert node.output() == ("", "")


def _pipelined(*paths):
    """What comes, up to the end of the connection, after requests that are sent at once."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=20) as client:
        client.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths))
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize("keeps", [False, True])
async def test_no_request_is_lost_under_load_that_comes_and_goes(tmp_path, keeps):
    async with running(tmp_path) as node:
        # Ends about as often as it is asked.
        pid = await node.serve(annotations={"scale-to-zero": "50ms"})
        load = Load(pid, 3, keeps=keeps, pause=0.055)
        await asyncio.sleep(6)
        load.end()
        assert not load.failed
        assert not load.reused
        assert set(load.answered) == {200}
        assert len(load.answered) > 50


async def test_sigterm_while_it_serves_answers_what_is_in_flight(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations={"scale-to-zero": "10s"})
        assert ask(pid)[0] == 200
        slow = asyncio.ensure_future(asyncio.to_thread(ask, pid, "/sleep?1500"))
        await asyncio.sleep(0.3)
        await node.shim.kill("c1", signal.SIGTERM)
        assert (await slow)[0] == 200
        assert await ended(node.shim) == 0


async def test_sigterm_while_it_rests_ends_it_at_once_and_a_second_one_too(tmp_path):
    async with running(tmp_path) as node:
        for name, signals, code in (("c1", 1, 0), ("c2", 2, 143)):
            pid = await node.serve(name, annotations=IDLE)
            if signals == 2:
                stalled = await asyncio.to_thread(inside, pid, _stalled)
            for _ in range(signals):
                await node.shim.kill(name, signal.SIGTERM)
            began = time.monotonic()
            assert await ended(node.shim, name) == code
            assert time.monotonic() - began < 1.5
        stalled.close()


def _stalled():
    """A client that does not finish its request."""
    client = socket.create_connection(("127.0.0.1", PORT))
    client.sendall(b"GET / HTTP/1.1\r\n")
    return client


async def test_a_port_that_is_taken_is_the_error_of_start(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve("c1", annotations=IDLE)
        path = f"/proc/{pid}/ns/net"
        namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        linux = {"namespaces": [*namespaces, {"type": "network", "path": path}]}
        with pytest.raises(FailedPrecondition, match=r"cannot be served at 0\.0\.0\.0:8080: Address already in use"):
            await node.serve("c2", annotations=IDLE, linux=linux)


async def test_a_program_that_fails_ends_the_container(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)
        assert ask(pid)[0] == 200
        (engine,) = engines_of(pid)
        os.kill(engine, signal.SIGKILL)
        assert (await node.shim.wait("c1")).exit_status == 137


async def test_a_client_that_stalls_or_floods_is_its_own_trouble(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=IDLE)
        stalled = await asyncio.to_thread(inside, pid, _stalled)
        flood = await asyncio.to_thread(inside, pid, functools.partial(_flood, 50))
        assert ask(pid) == (200, "hello\n")
        flood.close()
        stalled.close()
        await until(lambda: not engines_of(pid), 10)
        assert ask(pid) == (200, "hello\n")


def _flood(mebibytes):
    client = socket.create_connection(("127.0.0.1", PORT))
    client.settimeout(0.5)
    with contextlib.suppress(OSError):
        for _ in range(mebibytes):
            client.sendall(b"x" * (1 << 20))
    return client
