"""Components that handle HTTP requests are served: started, probed, limited, drained, killed."""

import asyncio
import contextlib
import functools
import http.client
import os
import re
import signal
import socket
import time

import pytest

from pelagos_core.errors import FailedPrecondition, InvalidArgument
from scripts import engines
from tests.support import services
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.http_load import PORT, Load, answer, get, inside
from tests.support.patience import until
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.services]
A = "io.pelagos.wasm."
RUNNING = 2  # of containerd.v1.types.Status


class Node:
    """A shim whose node has Wasmtime's program, and the FIFOs of each container."""

    def __init__(self, directory, shim, opened):
        self.directory = directory
        self.shim = shim
        self._opened = opened
        self.fifos = {}

    async def serve(self, name="c1", service="rust", annotations=None, env=("PATH=/bin",), **fields):
        """Create and start a container; its pid."""
        module = services.component(service)
        bundle = make_bundle(self.directory / name, "/app.wasm", module=module, env=list(env))
        change_config(bundle, annotations={f"{A}{key}": value for key, value in (annotations or {}).items()}, **fields)
        self.fifos[name] = Fifos(bundle)
        self._opened.callback(self.fifos[name].close)
        pid = await self.shim.create(name, bundle, self.fifos[name], timeout=240)  # an interpreter is compiled too
        await self.shim.start(name)
        return pid

    async def has_written(self, stdout, stderr, name="c1"):
        """Wait until its outputs are these patterns: the engine copies them beside its answers."""
        said = ["", ""]

        def look():
            said[:] = map("".join, zip(said, self.output(name), strict=True))
            return re.fullmatch(stdout, said[0]) and re.fullmatch(stderr, said[1])

        await until(look)

    def output(self, name="c1"):
        """What it has written so far to stdout and stderr."""
        return self.fifos[name].output()


@contextlib.asynccontextmanager
async def running(directory):
    """A node, closed at the end."""
    (directory / "config.toml").write_text(engines.config())
    # The cache is that of all tests: the code of the Python service takes seconds.
    environment = {"PELAGOS_CONFIG": str(directory / "config.toml"), "PELAGOS_CACHE_DIR": "/var/cache/pelagos"}
    with contextlib.ExitStack() as fifos:
        async with running_shim(directory, env=environment) as shim:
            node = Node(directory, shim, fifos)
            yield node


async def ended(shim, name="c1"):
    """Its exit code, once it is removed."""
    code = (await shim.wait(name)).exit_status
    await shim.delete(name)
    return code


def ask(pid, path="/", **how):
    return inside(pid, functools.partial(get, path, **how))


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("rust", "hello\n"),
        ("python", "hello from Python\n"),
        ("javascript", "hello from JavaScript\n"),
        ("python-0.3", "hello from WASI 0.3\n"),
    ],
)
async def test_it_answers_as_soon_as_it_is_started(tmp_path, service, said):
    async with running(tmp_path) as node:
        pid = await node.serve(service=service)
        assert ask(pid) == (200, said)
        assert node.shim.events.of("c1")[-1] == "/tasks/start"
        await node.shim.kill("c1", signal.SIGTERM)
        assert await ended(node.shim) == 0
        assert node.output() == ("", "")


async def test_it_has_variables_files_and_output_without_prefixes(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(env=("A=x y", "PATH=/bin"))
        (tmp_path / "c1/rootfs/note").write_text("a note")
        assert ask(pid, "/variable?A") == (200, "x y")
        assert ask(pid, "/file?/note") == (200, "a note")
        assert "No such file" in ask(pid, "/file?/engine")[1]
        assert "No such file" in ask(pid, "/file?/proc/self/maps")[1]
        for _ in range(2):
            assert ask(pid, "/say") == (200, "said\n")
        await node.has_written("on stdout\n" * 2, "on stderr\n" * 2)


async def test_prefixes_are_there_if_they_are_asked_for(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations={"http-log": "prefixed"})
        assert ask(pid, "/say") == (200, "said\n")
        await node.has_written(r"stdout \[\d+\] :: on stdout\n", r"stderr \[\d+\] :: on stderr\n")


@pytest.mark.parametrize(
    ("annotations", "env", "host", "port"),
    [
        ({"http-address": "9090"}, (), "127.0.0.1", 9090),
        ({}, ("PELAGOS_HTTP_ADDRESS=127.0.0.1:8181", "PORT=3000"), "127.0.0.1", 8181),
        ({"http-address": "[::1]:8182"}, ("PELAGOS_HTTP_ADDRESS=8183",), "::1", 8182),
    ],
)
async def test_the_address_is_the_annotations_then_the_variables(tmp_path, annotations, env, host, port):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations=annotations, env=env)
        assert ask(pid, host=host, port=port) == (200, "hello\n")
        with pytest.raises(ConnectionRefusedError):
            ask(pid)


async def test_a_port_that_is_taken_fails_start_with_the_reason(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        network = {"type": "network", "path": f"/proc/{pid}/ns/net"}
        kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        with pytest.raises(FailedPrecondition, match=r"served at 0\.0\.0\.0:8080: Address already in use") as refusal:
            await node.serve("c2", linux={"namespaces": [*kinds, network]})
        assert refusal.value.reason == "PLG-SERVE"
        assert "Address already in use" in node.output("c2")[1]
        assert (await node.shim.wait("c2")).exit_status == 1
        assert node.shim.events.of("c2")[-2:] == ["/tasks/start", "/tasks/exit"]
        await node.shim.delete("c2")
        pid = await node.serve("c3", annotations={"http-address": "8081"}, linux={"namespaces": [*kinds, network]})
        assert (ask(pid), ask(pid, port=8081)) == ((200, "hello\n"), (200, "hello\n"))


async def test_without_a_network_it_is_refused(tmp_path):
    async with running(tmp_path) as node:
        with pytest.raises(InvalidArgument, match="it has no network") as refusal:
            await node.serve(annotations={"network": "none"})
        assert refusal.value.reason == "PLG-SERVE"


async def test_a_trap_is_an_answer_of_500_and_a_line(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        assert ask(pid, "/trap")[0] == 500
        assert ask(pid) == (200, "hello\n")
        said = ""
        for _ in range(100):  # the line comes after the answer
            said += node.output()[1]
            if "wasm trap: wasm `unreachable` instruction executed" in said:
                return
            await asyncio.sleep(0.05)
        pytest.fail(said)


async def test_time_and_fuel_are_those_of_one_request(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(annotations={"http-timeout": "300ms"})
        begin = time.monotonic()
        assert _fails(pid, "/spin")
        assert _fails(pid, "/sleep?5000")
        assert time.monotonic() - begin < 3
        assert ask(pid) == (200, "hello\n")
        pid = await node.serve("c2", annotations={"fuel": "5000000"})
        assert ask(pid, "/spin")[0] == 500
        assert ask(pid) == (200, "hello\n")


def _fails(pid, path):
    """Whether there is an error for an answer: of a request whose time is over, none comes."""
    try:
        return ask(pid, path)[0] == 500
    except (OSError, http.client.HTTPException):
        return True


async def test_a_request_gets_no_more_memory_than_the_container_has(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve(**_limited(64 << 20))
        status, pages = ask(pid, "/memory")
        assert status == 200
        assert 0 < int(pages) * (64 << 10) < 56 << 20
        assert ask(pid) == (200, "hello\n")


def _limited(size):
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]
    return {"linux": {"namespaces": namespaces, "resources": {"memory": {"limit": size}}}}


@pytest.mark.parametrize(("keeps", "pause"), [(False, 0.0), (True, 0.05), (True, 0.0)])
async def test_it_drains_under_load_without_a_failed_request(tmp_path, keeps, pause):
    async with running(tmp_path) as node:
        pid = await node.serve()
        load = Load(pid, 4, keeps=keeps, pause=pause)
        try:
            await asyncio.sleep(0.5)
            begin = time.monotonic()
            await node.shim.kill("c1", signal.SIGTERM)
            assert (await node.shim.wait("c1")).exit_status == 0
            assert time.monotonic() - begin < 8
        finally:
            await asyncio.to_thread(load.end)
        assert load.failed == []
        assert set(load.answered) == {200}
        assert len(load.answered) > 10


async def test_requests_in_flight_end_and_nothing_else_is_accepted(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        slow = [asyncio.create_task(asyncio.to_thread(ask, pid, path)) for path in ("/sleep?4500", "/stream?450")]
        idle = await asyncio.to_thread(inside, pid, _idle)
        await asyncio.sleep(0.5)
        await node.shim.kill("c1", signal.SIGTERM)
        await asyncio.sleep(0.2)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(ask, pid, seconds=0.5)
        assert await asyncio.gather(*slow) == [(200, "slept\n"), (200, "chunk\n" * 10)]
        assert await ended(node.shim) == 0
        assert idle.sock.recv(1) == b""
        idle.close()


def _idle():
    """A connection that is kept after an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    assert answer(connection) == (200, "hello\n")
    return connection


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_a_second_signal_ends_it_at_once(tmp_path, signum):
    async with running(tmp_path) as node:
        pid = await node.serve()
        slow = asyncio.create_task(asyncio.to_thread(_fails, pid, "/sleep?30000"))
        await asyncio.sleep(0.3)
        await node.shim.kill("c1", signal.SIGTERM)
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        await node.shim.kill("c1", signum)
        assert await ended(node.shim) == 128 + signum
        assert time.monotonic() - begin < 2
        assert await slow


async def test_slow_and_hostile_clients_keep_no_other_away(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        hostile = await asyncio.to_thread(inside, pid, _hostile)
        assert ask(pid) == (200, "hello\n")
        await node.shim.kill("c1", signal.SIGTERM)
        await asyncio.sleep(1)
        assert (await node.shim.state("c1")).status == RUNNING
        await node.shim.kill("c1", signal.SIGKILL)
        assert await ended(node.shim) == 137
        for each in hostile:
            each.close()


def _hostile():
    """Connections with half a request, with none, with nonsense, and one that takes in no answer."""
    made = []
    for words in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx",
        b"",
        b"\0" * 99,
    ):
        for _ in range(20):
            made.append(socket.create_connection(("127.0.0.1", PORT)))
            made[-1].sendall(words)
    with contextlib.suppress(OSError):
        for _ in range(200):
            made[0].sendall(b"a")
    return made


async def test_a_killed_server_leaves_nothing(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        (engine,) = _children(pid)
        await node.shim.kill("c1", signal.SIGKILL)
        assert await ended(node.shim) == 137
        assert not os.path.exists(f"/proc/{engine}")


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


async def test_an_end_of_the_engine_is_the_containers(tmp_path):
    async with running(tmp_path) as node:
        pid = await node.serve()
        (engine,) = _children(pid)
        os.kill(engine, signal.SIGKILL)
        assert await ended(node.shim) == 137


async def test_a_cold_answer_comes_soon(tmp_path):
    async with running(tmp_path) as node:
        await node.serve("warm")
        bundle = make_bundle(tmp_path / "c1", "/app.wasm", module=services.component("rust"))
        pid = await node.shim.create("c1", bundle)
        begin = time.monotonic()
        await node.shim.start("c1")
        assert ask(pid) == (200, "hello\n")
        assert time.monotonic() - begin < 0.5  # the benchmark measures it; here others have the processors
