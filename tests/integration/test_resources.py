"""Limits that hold: what becomes of a guest that takes more, and of its neighbours."""

import os

import pytest

from pelagos_core.api import types_pb2
from pelagos_core.errors import PelagosError
from tests.support.bundles import CONFIG, change_config, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

MIB = 1 << 20
SCRATCH = {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1g"]}
START, OOM, EXIT = "/tasks/start", "/tasks/oom", "/tasks/exit"


def limited(bundle, **resources):
    """Give a bundle resources, and a file system that is held in memory."""
    change_config(bundle, linux={**CONFIG["linux"], "resources": resources}, mounts=[SCRATCH])
    return bundle


async def test_a_guest_that_fills_more_than_its_memory_is_killed_and_only_it(tmp_path, guests):
    hog = make_bundle(tmp_path / "hog", "/app.wasm", "fill", "/scratch/x", "500", module=guests / "memory.wasm")
    limited(hog, memory={"limit": 64 * MIB, "swap": 64 * MIB})
    neighbour = make_bundle(tmp_path / "neighbour", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("neighbour", neighbour)
        await shim.start("neighbour")
        await shim.create("hog", hog)
        await shim.start("hog")
        assert (await shim.wait("hog")).exit_status == 137
        await shim.events.until("hog", "/tasks/create", START, OOM, EXIT)
        assert (await shim.state("neighbour")).status == types_pb2.RUNNING
        await shim.delete("hog")
        assert OOM not in shim.events.of("neighbour")


async def test_a_guests_own_memory_ends_before_its_containers(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "take", "500", module=guests / "memory.wasm")
    limited(bundle, memory={"limit": 64 * MIB})
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 9  # malloc has said no, and the program went on
        assert OOM not in shim.events.of("c1")


async def test_a_limit_on_processes_is_in_force_before_the_guest(tmp_path, guests):
    bundle = limited(make_bundle(tmp_path / "c1", module=guests / "spin.wasm"), pids={"limit": 40})
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        assert _limit(pid, "pids", "pids.max") == "40"
        assert int(_limit(pid, "pids", "pids.current")) >= 1


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memory": {"limit": "much"}}, r"linux\.resources\.memory\.limit: not an integer"),
        ({"cpu": {"quota": 1}}, r"linux\.resources\.cpu\.quota: cgroup .*: '1( 100000)?': Invalid argument"),
        ({"network": {"classID": 7}, "unified": {"x.y": "1"}}, r"linux\.resources\.(network|unified)"),
    ],
)
async def test_an_impossible_limit_is_refused_and_nothing_is_left(tmp_path, guests, resources, message):
    bundle = limited(make_bundle(tmp_path / "c1", module=guests / "hello.wasm"), **resources)
    change_config(
        bundle, linux={**CONFIG["linux"], "resources": resources, "cgroupsPath": f"/pelagos/{tmp_path.name}-x"}
    )
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError, match=message):
            await shim.create("c1", bundle)
        assert not [root for root, names, _ in os.walk("/sys/fs/cgroup") if f"{tmp_path.name}-x" in names]


def _limit(pid, controller, file):
    """A control file of a process' group, on either version."""
    with open(f"/proc/{pid}/cgroup") as groups:
        lines = [line.rstrip("\n").split(":", 2) for line in groups]
    path = {name: path for _, names, path in lines for name in names.split(",")}
    base = f"/sys/fs/cgroup/{controller}" if controller in path else "/sys/fs/cgroup"
    with open(f"{base}{path.get(controller, path.get(''))}/{file}") as limit:
        return limit.read().strip()
