"""A peer that sends anything: the shim continues to serve all others."""

import asyncio
import contextlib
import os
import random
import resource
import struct

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import AlreadyExists, Code, FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.ttrpc.client import Client
from tests.support.bundles import make_bundle
from tests.support.patience import until
from tests.support.shim import TASK, running_shim
from tests.support.traces import descriptors

pytestmark = [pytest.mark.root]

MIB = 1 << 20


def frame(data, stream_id=1, kind=1, length=None):
    return struct.pack(">IIBB", len(data) if length is None else length, stream_id, kind, 0) + data


def request(method="Connect", payload=b"", service="containerd.task.v2.Task"):
    return ttrpc_pb2.Request(service=service, method=method, payload=payload).SerializeToString()


async def connect(shim):
    return await asyncio.open_unix_connection(shim.address)


async def answer(reader):
    """The status code of the next response on a raw connection."""
    length, _stream, _kind, _flags = struct.unpack(">IIBB", await asyncio.wait_for(reader.readexactly(10), 10))
    return ttrpc_pb2.Response.FromString(await reader.readexactly(length)).status.code


def memory(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_a_frame_of_four_gibibytes_is_refused_and_never_held(tmp_path):
    async with running_shim(tmp_path) as shim:
        before = memory(shim.pid)
        reader, writer = await connect(shim)
        writer.write(frame(b"", length=0xFFFFFFFF))
        assert await answer(reader) == Code.RESOURCE_EXHAUSTED
        for _ in range(64):
            writer.write(bytes(MIB))
            await writer.drain()
        assert (await shim.call("Connect")).shim_pid == shim.pid
        assert memory(shim.pid) - before < 16 * MIB
        writer.close()


async def test_a_frame_just_over_the_limit_leaves_the_connection_usable(tmp_path):
    async with running_shim(tmp_path) as shim:
        reader, writer = await connect(shim)
        writer.write(frame(bytes(4 * MIB + 1)) + frame(request(), stream_id=3))
        assert [await answer(reader), await answer(reader)] == [Code.RESOURCE_EXHAUSTED, Code.OK]
        writer.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff\xff\xff"), Code.INVALID_ARGUMENT),
        (frame(request(payload=b"\xff\xff")), Code.INVALID_ARGUMENT),
        (frame(request(), stream_id=2), Code.INVALID_ARGUMENT),
        (frame(request(method="Nothing")), Code.UNIMPLEMENTED),
        (frame(request(service="no.such.Service")), Code.UNIMPLEMENTED),
        (frame(request(method="Create", payload=api.CreateTaskRequest(id="../x").SerializeToString())), 3),
    ],
)
async def test_what_makes_no_sense_is_answered_by_its_code(tmp_path, data, code):
    async with running_shim(tmp_path) as shim:
        reader, writer = await connect(shim)
        writer.write(data)
        assert await answer(reader) == code
        writer.close()


@pytest.mark.parametrize("exec_id", ["a/b", "..", "../x", "a\0b", "x" * 77, ".hidden", "a b"])
async def test_an_exec_id_that_is_no_identifier_is_refused(tmp_path, guests, exec_id):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        with pytest.raises(InvalidArgument, match=r"not letters and digits|over 76"):
            await shim.exec("c1", exec_id, "/app.wasm")
        for method in ("State", "Start", "Kill", "Delete", "Wait"):
            with pytest.raises(NotFound):
                await shim.call(method, getattr(api, f"{method}Request")(id="c1", exec_id=exec_id))


async def test_what_is_done_twice_is_refused_the_second_time(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "exit7.wasm")
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 7
        with pytest.raises(NotFound, match="container 'c1'"):
            await shim.delete("c1")
        await shim.create("c1", bundle)
        with pytest.raises(AlreadyExists):
            await shim.create("c1", bundle)
        await shim.start("c1")
        await shim.wait("c1")
        with pytest.raises(FailedPrecondition):
            await shim.start("c1")
        with pytest.raises(FailedPrecondition, match="it is stopped"):
            await shim.exec("c1", "e1", "/app.wasm")


async def test_the_longest_names_have_a_socket(tmp_path):
    """containerd's own limits are 76 characters each; a socket's path has 107 bytes."""
    async with running_shim(tmp_path, group="g" * 76) as shim:
        assert len(shim.address) <= 107
        assert (await shim.call("Connect")).shim_pid == shim.pid


async def test_noise_and_half_messages_from_many_peers_do_no_harm(tmp_path):
    noise = random.Random(7)
    async with running_shim(tmp_path) as shim:
        before, files = memory(shim.pid), descriptors(shim.pid)
        idle = [await connect(shim) for _ in range(50)]
        for _, writer in idle:
            writer.write(b"\0\0\0")  # three bytes of a header, and then silence
        for _ in range(300):
            _, writer = await connect(shim)
            writer.write(noise.randbytes(noise.randrange(200)) + frame(b"", length=1000))
            writer.close()
            assert (await shim.call("Connect")).shim_pid == shim.pid
        for _, writer in idle:
            writer.close()
        await until(lambda: descriptors(shim.pid) == files)
        assert memory(shim.pid) - before < 16 * MIB


async def test_ten_thousand_connections_that_are_dropped_leave_nothing(tmp_path):
    async with running_shim(tmp_path) as shim:
        before, files = memory(shim.pid), descriptors(shim.pid)
        for _ in range(100):
            for _ in range(100):
                _, writer = await connect(shim)
                writer.close()
            assert (await shim.call("Connect")).shim_pid == shim.pid
        await until(lambda: descriptors(shim.pid) == files)
        assert memory(shim.pid) - before < 16 * MIB


async def test_more_idle_connections_than_descriptors_leave_room_for_containers(tmp_path, guests):
    bundles = {name: make_bundle(tmp_path / name, module=guests / "exit7.wasm") for name in ("c1", "c2", "c3")}
    async with contextlib.AsyncExitStack() as stack:
        with soft_limit(200):
            shim = await stack.enter_async_context(running_shim(tmp_path))
        assert await shim.run("c1", bundles["c1"]) == 7
        before, files = memory(shim.pid), descriptors(shim.pid)
        idle = [await connect(shim) for _ in range(400)]
        late = await Client.connect(shim.address, TASK[0])
        answer = asyncio.ensure_future(late.call("Connect"))
        await until(lambda: descriptors(shim.pid) > 100)
        assert await shim.run("c2", bundles["c2"]) == 7
        assert not answer.done()
        for _, writer in idle:
            writer.close()
        assert (await answer).shim_pid == shim.pid
        late.close()
        assert await shim.run("c3", bundles["c3"]) == 7
        await until(lambda: descriptors(shim.pid) == files)
        assert memory(shim.pid) - before < 16 * MIB


@contextlib.contextmanager
def soft_limit(descriptors):
    """A limit of descriptors for what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
