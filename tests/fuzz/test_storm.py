"""Many clients call what they like on the same containers at once: whatever wins, nothing breaks."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core.api import task_pb2 as api
from pelagos_core.errors import AlreadyExists, Cancelled, FailedPrecondition, NotFound
from pelagos_core.ttrpc.client import Client
from tests.fuzz.budget import seconds, seed
from tests.support.bundles import make_bundle
from tests.support.event_order import violation
from tests.support.shim import RESOURCES_TYPE, TASK, Shim, running_shim
from tests.support.traces import cgroups_of, descriptors, processes

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow]

CLIENTS = 12
CALLS = """
    create start start exec kill delete wait state pids connect pause resume resume stats update close_io resize
""".split()
IDS = ("a", "b", "c", "d")
EXECS = ("", "e", "f")
PROGRAMS = ("/spin.wasm", "/spin.wasm", "/exit7.wasm", "/trap.wasm")
LOST_A_RACE = (NotFound, AlreadyExists, FailedPrecondition, Cancelled)


@pytest.mark.timeout(0)
async def test_calls_that_race_are_answered_or_refused_and_leave_nothing(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        image = make_bundle(tmp_path / "image")
        for file in guests.glob("*.wasm"):
            os.link(file, image / "rootfs" / file.name)
        await shim.run("first", make_bundle(tmp_path / "first", module=guests / "hello.wasm"))
        before = descriptors(shim.pid)
        end = time.monotonic() + seconds(12)
        answers = Counter()
        first = seed()
        await asyncio.gather(*(_client(first + number, shim, tmp_path, end, answers) for number in range(CLIENTS)))
        await _end_all(shim)
        assert answers["start"] > CLIENTS, answers
        seen = await shim.events.count(4)
        made = Counter(topic for topic, _, _ in seen)
        await shim.events.count(sum(made.values()))
        assert not violation(shim.events.told())
        assert made["create"] == made["delete"]
        assert processes(shim.pid) == []
        assert descriptors(shim.pid) == before
        assert not cgroups_of(tmp_path)


async def _client(number, shim, directory, end, answers):
    """One client: a connection of its own, and calls at random."""
    rng = random.Random(number)
    async with await Client.connect(shim.address, TASK[0]) as client:
        own = Shim(client, shim.events, shim.directory, shim.address)
        count = 0
        while time.monotonic() < end:
            count += 1
            name, exec_id = rng.choice(IDS), rng.choice(EXECS)
            what = rng.choice(
                ("create", "start", "start", "exec", "kill", "delete", "wait", "state", "pids", "connect")
            )
            try:
                await asyncio.wait_for(_call(own, rng, what, name, exec_id, directory / f"{number}-{count}"), 20)
                answers[what] += 1
            except LOST_A_RACE as error:
                answers[what, type(error).__name__] += 1


async def _call(shim, rng, what, name, exec_id, directory):
    """Make one call of this kind."""
    if what == "create":
        bundle = make_bundle(directory, rng.choice(PROGRAMS))
        os.rmdir(bundle / "rootfs")
        os.symlink(shim.directory / "image/rootfs", bundle / "rootfs")
        return await shim.create(name, bundle)
    if what == "update":
        limits = {"memory": {"limit": rng.choice((256, 512)) << 20}, "pids": {"limit": rng.choice((16, 32))}}
        resources = Any(type_url=RESOURCES_TYPE, value=json.dumps(limits).encode())
        return await shim.call("Update", api.UpdateTaskRequest(id=name, resources=resources))
    if what == "wait":
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(shim.wait(name, exec_id), rng.random())
        return None
    calls = {
        "start": lambda: shim.start(name, exec_id),
        "exec": lambda: shim.exec(name, exec_id or "e", rng.choice(PROGRAMS)),
        "kill": lambda: shim.kill(name, rng.choice((9, 15, 0)), exec_id, everything=rng.random() < 0.5),
        "delete": lambda: shim.delete(name, exec_id),
        "state": lambda: shim.state(name, exec_id),
        "close_io": lambda: shim.close_io(name, exec_id),
        "resize": lambda: shim.call("ResizePty", api.ResizePtyRequest(id=name, exec_id=exec_id, width=80, height=25)),
    }
    method = what.capitalize()  # Pids, Connect, Pause, Resume, Stats
    return await calls.get(what, lambda: shim.call(method, getattr(api, f"{method}Request")(id=name)))()


async def _end_all(shim):
    for name in IDS:
        with contextlib.suppress(NotFound):
            with contextlib.suppress(NotFound):
                await shim.kill(name, signal.SIGKILL, everything=True)
                await asyncio.wait_for(shim.wait(name), 10)
            await shim.delete(name)
