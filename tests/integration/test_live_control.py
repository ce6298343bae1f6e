"""What is asked of a running container: pause, resume, stats, update, pids."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pelagos_core.api import metrics_v1_pb2, metrics_v2_pb2, types_pb2
from pelagos_core.api import process_details_pb2 as details
from pelagos_core.api import task_pb2 as api
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound, PelagosError
from pelagos_core.task.service import RESOURCES_TYPE
from tests.support.bundles import CONFIG, Fifos, change_config, make_bundle
from tests.support.shim import flags, running_shim, shim_command

pytestmark = [pytest.mark.root, pytest.mark.guests]

MIB = 1 << 20
CREATE, START, PAUSED, RESUMED, EXIT, DELETE, OOM = (
    f"/tasks/{name}" for name in ("create", "start", "paused", "resumed", "exit", "delete", "oom")
)


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


async def spinning(shim, tmp_path, guests, name="c1"):
    bundle = make_bundle(tmp_path / name, module=guests / "spin.wasm")
    pid = await shim.create(name, bundle)
    await shim.start(name)
    return pid


async def pause(shim, name="c1"):
    await shim.call("Pause", api.PauseRequest(id=name))


async def resume(shim, name="c1"):
    await shim.call("Resume", api.ResumeRequest(id=name))


async def update(shim, resources, name="c1", type_url=RESOURCES_TYPE):
    request = api.UpdateTaskRequest(id=name)
    request.resources.type_url, request.resources.value = type_url, json.dumps(resources).encode()
    await shim.call("Update", request)


async def stats(shim, name="c1"):
    answer = (await shim.call("Stats", api.StatsRequest(id=name))).stats
    kinds = {kind.DESCRIPTOR.full_name: kind for kind in (metrics_v1_pb2.Metrics, metrics_v2_pb2.Metrics)}
    return kinds[answer.type_url].FromString(answer.value)


def limit(metrics):
    memory = metrics.memory
    return memory.usage.limit if isinstance(metrics, metrics_v1_pb2.Metrics) else memory.usage_limit


async def test_a_paused_guest_takes_no_time_and_goes_on_when_resumed(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        pid = await spinning(shim, tmp_path, guests)
        await pause(shim)
        assert (await shim.state("c1")).status == types_pb2.PAUSED
        before = cpu_ticks(pid)
        await asyncio.sleep(0.1)
        assert cpu_ticks(pid) == before
        with pytest.raises(FailedPrecondition, match="cannot pause, it is paused"):
            await pause(shim)
        with pytest.raises(FailedPrecondition, match="cannot exec, it is paused"):
            await shim.call("Exec", _exec_request())
        await resume(shim)
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        while cpu_ticks(pid) == before:
            await asyncio.sleep(0.01)
        with pytest.raises(FailedPrecondition, match="cannot resume, it is running"):
            await resume(shim)
        await shim.kill("c1", signal.SIGKILL)
        await shim.wait("c1")
        await shim.delete("c1")
        await shim.events.until("c1", CREATE, START, PAUSED, RESUMED, EXIT, DELETE)


def _exec_request():
    request = api.ExecProcessRequest(id="c1", exec_id="e1")
    request.spec.value = json.dumps({"args": ["/app.wasm"], "cwd": "/"}).encode()
    return request


@pytest.mark.parametrize(
    ("signum", "everything", "code"),
    [(signal.SIGKILL, False, 137), (signal.SIGKILL, True, 137), (signal.SIGTERM, False, 143)],
)
async def test_a_paused_guest_can_be_killed(tmp_path, guests, signum, everything, code):
    async with running_shim(tmp_path) as shim:
        await spinning(shim, tmp_path, guests)
        await pause(shim)
        await shim.kill("c1", signum, everything=everything)
        assert (await asyncio.wait_for(shim.wait("c1"), 5)).exit_status == code
        await shim.delete("c1")
        await shim.events.until("c1", CREATE, START, PAUSED, EXIT, DELETE)


async def test_a_guest_that_is_only_created_cannot_be_paused(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        with pytest.raises(FailedPrecondition, match="cannot pause, it is created"):
            await pause(shim)
        await shim.delete("c1")
        for call in (pause, resume, stats):
            with pytest.raises(NotFound, match="container 'c1' does not exist"):
                await call(shim)


async def test_delete_cleans_up_a_paused_container_whose_shim_was_killed(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        pid = await spinning(shim, tmp_path, guests)
        await pause(shim)
        os.kill(shim.pid, signal.SIGKILL)
        done = await asyncio.to_thread(
            shim_command, *flags(tmp_path, "c1"), "-bundle", str(tmp_path / "c1"), "delete", cwd=tmp_path / "c1"
        )
        assert done.returncode == 0, done.stderr
        await asyncio.wait_for(_gone(pid), 5)
        assert not (tmp_path / "c1/pelagos.record").exists()


async def _gone(pid):
    """Wait until the process has ended; its new parent may be slow to reap it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "Z" not in (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]:
            await asyncio.sleep(0.01)


async def test_stats_are_what_containerd_decodes(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await spinning(shim, tmp_path, guests)
        first = await stats(shim)
        assert first.pids.current >= 1
        if isinstance(first, metrics_v1_pb2.Metrics):
            assert first.memory.usage.usage > MIB
            assert first.memory.total_rss > MIB
            used = lambda metrics: metrics.cpu.usage.total  # noqa: E731
        else:
            assert first.memory.usage > MIB
            assert first.memory.anon > MIB
            used = lambda metrics: metrics.cpu.usage_usec  # noqa: E731
        while used(await stats(shim)) <= used(first):
            await asyncio.sleep(0.01)
        await shim.kill("c1", signal.SIGKILL)
        await shim.wait("c1")
        assert (await stats(shim)).pids.current == 0  # until it is deleted


async def test_limits_of_a_live_container_are_changed_one_by_one(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await spinning(shim, tmp_path, guests)
        await update(shim, {"memory": {"limit": 256 * MIB}, "pids": {"limit": 60}})
        await update(shim, {"pids": {"limit": 50}})
        await pause(shim)
        await update(shim, {"cpu": {"shares": 512}})
        now = await stats(shim)
        assert (limit(now), now.pids.limit) == (256 * MIB, 50)
        with pytest.raises(PelagosError, match=r"linux\.resources\.cpu\.quota"):
            await update(shim, {"memory": {"limit": 128 * MIB}, "cpu": {"quota": 1}})
        assert limit(await stats(shim)) == 256 * MIB


async def test_a_guest_that_takes_more_time_than_its_quota_is_throttled(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await spinning(shim, tmp_path, guests)
        await update(shim, {"cpu": {"quota": 5000, "period": 50000}})
        while not throttled(await stats(shim)):
            await asyncio.sleep(0.01)


def throttled(metrics):
    cpu = metrics.cpu
    return cpu.throttling.throttled_periods if isinstance(metrics, metrics_v1_pb2.Metrics) else cpu.nr_throttled


@pytest.mark.parametrize(
    ("resources", "type_url", "message"),
    [
        ({}, "types.containerd.io/opencontainers/runtime-spec/1/Process", "resources of type '.*/Process'"),
        ({}, "", "resources of type ''"),
        ({"memory": {"limit": -7}}, RESOURCES_TYPE, r"container 'c1': resources\.memory\.limit: -7"),
        ([], RESOURCES_TYPE, "container 'c1': resources: not an object"),
    ],
)
async def test_an_update_that_cannot_be_is_refused(tmp_path, guests, resources, type_url, message):
    async with running_shim(tmp_path) as shim:
        await spinning(shim, tmp_path, guests)
        with pytest.raises(InvalidArgument, match=message):
            await update(shim, resources, type_url=type_url)


async def test_a_guest_that_is_given_less_memory_later_is_held_to_it(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "wait-take", "500", module=guests / "memory.wasm")
    fifos = Fifos(tmp_path, stdin=True)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        while "ready" not in fifos.output()[0]:
            await asyncio.sleep(0.01)
        await update(shim, {"memory": {"limit": 96 * MIB, "swap": 96 * MIB}})
        await asyncio.to_thread(_say, fifos.stdin)
        assert (await shim.wait("c1")).exit_status == 137
        await shim.events.until("c1", CREATE, START, OOM, EXIT)
    fifos.close()


def _say(path):
    with open(path, "wb") as file:
        file.write(b"\n")


async def test_processes_are_listed_with_their_exec_ids(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        pid = await spinning(shim, tmp_path, guests)
        await shim.call("Exec", _exec_request())
        exec_pid = (await shim.call("Start", api.StartRequest(id="c1", exec_id="e1"))).pid
        listed = {each.pid: each.info for each in (await shim.call("Pids", api.PidsRequest(id="c1"))).processes}
        assert set(listed) == {pid, exec_pid}
        assert not listed[pid].type_url
        assert listed[exec_pid].type_url == "containerd.runc.v1.ProcessDetails"
        assert details.ProcessDetails.FromString(listed[exec_pid].value).exec_id == "e1"
        await pause(shim)
        assert (await shim.call("State", api.StateRequest(id="c1", exec_id="e1"))).status == types_pb2.PAUSED


async def test_groups_that_a_program_has_made_in_its_own_are_killed_and_removed(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    group = f"/pelagos/{tmp_path.name}"
    change_config(bundle, linux={**CONFIG["linux"], "cgroupsPath": group})
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        with open("/proc/self/mounts") as mounts:
            roots = [line.split()[1] for line in mounts if line.split()[2].startswith("cgroup")]
        made = [f"{root}{group}/a/b" for root in roots if os.path.isdir(root + group)]
        for path in made:
            os.makedirs(path)
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            freezer = next(path for path in made if os.path.exists(f"{path}/freezer.state") or "unified" not in path)
            with open(f"{freezer}/cgroup.procs", "w") as file:
                file.write(str(sleeper.pid))
            await shim.delete("c1")
            assert sleeper.wait(5) == -signal.SIGKILL
        assert not [path for path in made if os.path.exists(path)]
