"""Tests that need systemd as the first process; `tests/integration/test_systemd.py` boots it and runs them."""

import json
import os
import signal
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core.api import task_pb2 as api
from pelagos_core.cgroups.systemd_units import NO_SUCH_UNIT, Refused
from pelagos_core.errors import PelagosError
from pelagos_core.task import systemd_manager
from tests.support.bundles import CONFIG, change_config, make_bundle
from tests.support.patience import until
from tests.support.shim import RESOURCES_TYPE, running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

MIB = 1 << 20
SLICE = "kubepods-burstable-pod1.slice"
GROUPS = Path("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice") / SLICE
RESOURCES = {
    "memory": {"limit": 64 * MIB},
    "cpu": {"shares": 512, "quota": 25_000, "period": 100_000},
    "pids": {"limit": 50},
    "devices": [{"allow": False, "access": "rwm"}],
}
LIMITS = {"memory.max": str(64 * MIB), "cpu.weight": "59", "cpu.max": "30000 100000", "pids.max": "50"}


def scoped(bundle, name, resources=RESOURCES):
    change_config(bundle, linux={**CONFIG["linux"], "cgroupsPath": f"{SLICE}:cri:{name}", "resources": resources})
    return bundle


def group(name):
    return GROUPS / f"cri-{name}.scope"


def limits(name):
    return {file: (group(name) / file).read_text().strip() for file in LIMITS}


async def ask(method, signature="", *words):
    """Call a method of systemd's manager and return its answer."""
    answers = []

    async def call(manager):
        answers.append(await manager.call(method, signature, words))

    await systemd_manager.ask(call, 60)  # all units are read again
    return answers[0]


async def is_known(name):
    """Whether systemd knows the scope."""
    try:
        await ask("GetUnit", "s", f"cri-{name}.scope")
    except Refused as error:
        assert error.name == NO_SUCH_UNIT
        return False
    return True


async def test_limits_hold_when_systemd_loads_its_units_again(tmp_path, guests):
    bundle = scoped(make_bundle(tmp_path / "c1", module=guests / "spin.wasm"), "c1")
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        # Only the container's process: the helper that kept the scope open has exited.
        assert (group("c1") / "cgroup.procs").read_text().split() == [str(pid)]
        await shim.start("c1")
        before = limits("c1")
        await ask("Reload")
        assert limits("c1") == before
        assert before["memory.max"] == LIMITS["memory.max"]
        assert before["pids.max"] == LIMITS["pids.max"]
        assert before["cpu.weight"] == LIMITS["cpu.weight"]
        more = json.dumps({"memory": {"limit": 96 * MIB}, "cpu": {"shares": 1024}}).encode()
        resources = Any(type_url=RESOURCES_TYPE, value=more)
        await shim.call("Update", api.UpdateTaskRequest(id="c1", resources=resources))
        changed = limits("c1")
        await ask("Reload")
        assert limits("c1") == changed
        assert changed["memory.max"] == str(96 * MIB)
        assert changed["cpu.weight"] == "100"
        assert await is_known("c1")
        await shim.kill("c1", signal.SIGKILL)
        await shim.wait("c1")
        await shim.delete("c1")
        assert not group("c1").exists()
        assert not await is_known("c1")


async def test_a_container_that_cannot_be_made_leaves_no_scope(tmp_path, guests):
    bundle = scoped(make_bundle(tmp_path / "c1", "/none.wasm", module=guests / "hello.wasm"), "c1")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError, match="no such file"):
            await shim.create("c1", bundle)
        assert not group("c1").exists()
        assert not await is_known("c1")


async def test_a_scope_that_another_program_has_is_not_taken(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", scoped(make_bundle(tmp_path / "c1", module=guests / "spin.wasm"), "same"))
        with pytest.raises(PelagosError, match=r"cri-same\.scope"):
            await shim.create("c2", scoped(make_bundle(tmp_path / "c2", module=guests / "spin.wasm"), "same"))
        assert await is_known("same")


async def test_what_is_no_name_of_a_unit_is_refused(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError, match="not the name of a systemd scope"):
            await shim.create("c1", scoped(make_bundle(tmp_path / "c1", module=guests / "spin.wasm"), "a b"))


async def test_a_scope_ends_with_its_last_process_when_the_shim_was_killed(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", scoped(make_bundle(tmp_path / "c1", module=guests / "spin.wasm"), "c1"))
        await shim.start("c1")
        os.kill(shim.pid, signal.SIGKILL)
        await until(lambda: not group("c1").exists())
        assert not await is_known("c1")
