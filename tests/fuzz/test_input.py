"""Damaged input of every kind that comes from outside: refused by a typed error, or taken for what it says."""

import asyncio
import os
import random
import struct
import time
from collections import Counter

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.api.types_pb2 import Mount
from pelagos_core.config import runtime_options
from pelagos_core.errors import Code, PelagosError
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.shim.group import group_of
from pelagos_core.ttrpc.connection import ClientConnection, ServerConnection
from tests.fuzz.budget import seconds, seed
from tests.fuzz.mutation import damaged, damaged_json, json_text
from tests.support.bundles import CONFIG, make_bundle
from tests.support.shim import RESOURCES_TYPE, running_shim
from tests.support.traces import descriptors, processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

EVERYTHING = {
    **CONFIG,
    "hostname": "box",
    "annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.pelagos.wasm.runtime": "auto", "other": "x"},
    "process": {
        **CONFIG["process"],
        "terminal": False,
        "capabilities": {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
        "oomScoreAdj": 10,
        "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 18},
    },
    "linux": {
        **CONFIG["linux"],
        "cgroupsPath": "/pelagos/fuzz",
        "resources": {
            "memory": {"limit": 1 << 28, "swap": 1 << 28},
            "cpu": {"shares": 100, "quota": 10000, "period": 100000, "cpus": "0"},
            "pids": {"limit": 10},
            "devices": [{"allow": False, "access": "rwm"}],
        },
        "devices": [{"type": "c", "path": "/dev/null", "major": 1, "minor": 3}],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]},
    },
}


# What a container would have in common with the machine, if it is damaged so.
SHARED = {"cgroupsPath", "uidMappings"}


def rounds(share):
    """Numbered generators, until the time is over."""
    first, end = seed(), time.monotonic() + seconds(share)
    number = 0
    while time.monotonic() < end or number < 10:
        yield random.Random(f"{first}-{number}")
        number += 1


@pytest.mark.parametrize("end", [ServerConnection, ClientConnection])
def test_frames_in_any_pieces_mean_what_they_mean_in_one(end):
    frames = ((1, b""), (1, b"x" * 99), (2, b"response"), (3, b"data"))
    good = b"".join(struct.pack(">IIBB", len(data), n, kind, 0) + data for n, (kind, data) in enumerate(frames, 1))
    for rng in rounds(3):
        data = damaged(good, rng) if rng.random() < 0.9 else rng.randbytes(200)
        connection, events, taken = end(), [], 0
        while taken < len(data):
            size = rng.randint(1, 40)
            events += connection.receive_data(data[taken : taken + size])
            taken += size
        assert events == end().receive_data(data)


def test_a_config_is_a_bundle_or_a_typed_error(tmp_path):
    bundle = make_bundle(tmp_path / "c1")
    for rng in rounds(8):
        text = json_text(damaged_json(EVERYTHING, rng))
        text = damaged(text, rng) if rng.random() < 0.2 else text
        (bundle / "config.json").write_bytes(text)
        assert group_of(text, "c1")
        try:
            loaded = Bundle.load(str(bundle), "c1", "test", ())
        except PelagosError as error:
            assert error.code != Code.UNKNOWN
            assert "\n" not in str(error)
        else:
            assert loaded.spec.process.args


def test_runtime_options_are_options_or_a_typed_error(tmp_path):
    (tmp_path / "options.toml").write_text('runtime = "wasmtime"\n')
    body = b'runtime = "wasmtime"\norder = ["a", "b"]\nNoPivotRoot = true\n'
    for rng in rounds(3):
        options = Options(type_url="x", config_body=damaged(body, rng))
        if rng.random() < 0.2:
            options.config_path = damaged(str(tmp_path / "options.toml").encode(), rng).decode("utf-8", "ignore")
        value = options.SerializeToString()
        value = damaged(value, rng) if rng.random() < 0.5 else value
        try:
            runtime_options.parse(Any(type_url="runtimeoptions.v1.Options", value=value))
        except PelagosError as error:
            assert error.code != Code.UNKNOWN


@pytest.mark.root
@pytest.mark.guests
async def test_a_damaged_container_is_created_or_refused_by_name_and_leaves_nothing(tmp_path, guests):
    config = {**EVERYTHING, "linux": {key: value for key, value in EVERYTHING["linux"].items() if key not in SHARED}}
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 0
        before = descriptors(shim.pid)
        outcomes = Counter()
        for rng in rounds(8):
            (bundle / "config.json").write_bytes(json_text(damaged_json(config, rng)))
            try:
                await shim.create("c1", bundle)
                await shim.kill("c1", 9)
                await shim.delete("c1")
                outcomes["created"] += 1
            except PelagosError as error:
                assert "c1" in str(error), error
                outcomes[type(error).__name__] += 1
            assert "pelagos.record" not in os.listdir(bundle)
        assert outcomes["created"], outcomes
        assert outcomes["InvalidArgument"], outcomes
        assert descriptors(shim.pid) == before
        assert processes(shim.pid) == []
        print(outcomes)


@pytest.mark.root
@pytest.mark.guests
async def test_requests_are_answered_with_an_error_code_and_the_shim_keeps_running(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for rng in rounds(8):
            method, message = rng.choice(_requests(bundle))
            request = ttrpc_pb2.Request(
                service="containerd.task.v2.Task", method=method, payload=damaged(message.SerializeToString(), rng)
            ).SerializeToString()
            code, text = await _answer(shim, damaged(request, rng) if rng.random() < 0.1 else request)
            assert code not in (Code.UNKNOWN, Code.INTERNAL), f"{method}: {text}"
            assert (await shim.call("Connect")).shim_pid == shim.pid


def _requests(bundle):
    """A valid request of each kind but Wait, which may never be answered, Delete and Kill."""
    stdio = {"stdin": "", "stdout": str(bundle / "none"), "stderr": str(bundle / "none")}
    process = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=b'{"args": ["/x"]}')
    limits = Any(type_url=RESOURCES_TYPE, value=b'{"memory": {"limit": 67108864}}')
    rootfs = [Mount(type="tmpfs", source="tmpfs", options=["ro"])]
    return [
        ("State", api.StateRequest(id="c1", exec_id="e")),
        ("Create", api.CreateTaskRequest(id="c2", bundle=str(bundle), rootfs=rootfs, options=process, **stdio)),
        ("Start", api.StartRequest(id="c1", exec_id="e")),
        ("Pids", api.PidsRequest(id="c1")),
        ("Pause", api.PauseRequest(id="c1")),
        ("Resume", api.ResumeRequest(id="c1")),
        ("Checkpoint", api.CheckpointTaskRequest(id="c1", path="/x")),
        ("Exec", api.ExecProcessRequest(id="c1", exec_id="e", spec=process, **stdio)),
        ("ResizePty", api.ResizePtyRequest(id="c1", exec_id="e", width=80, height=25)),
        ("CloseIO", api.CloseIORequest(id="c1", exec_id="e", stdin=True)),
        ("Update", api.UpdateTaskRequest(id="c1", resources=limits)),
        ("Stats", api.StatsRequest(id="c1")),
        ("Connect", api.ConnectRequest(id="c1")),
        ("Shutdown", api.ShutdownRequest(id="c1", now=True)),
    ]


async def _answer(shim, request):
    """The code and the text of the answer to a request on a connection of its own."""
    reader, writer = await asyncio.open_unix_connection(shim.address)
    try:
        writer.write(struct.pack(">IIBB", len(request), 1, 1, 0) + request)
        length, _, _, _ = struct.unpack(">IIBB", await asyncio.wait_for(reader.readexactly(10), 20))
        status = ttrpc_pb2.Response.FromString(await reader.readexactly(length)).status
        return status.code, status.message
    finally:
        writer.close()
