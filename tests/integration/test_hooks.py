"""Hooks of the OCI runtime spec, at every point of a container's life."""

import json
import os
import shutil
import signal

import pytest

from pelagos_core.errors import FailedPrecondition, Unimplemented
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.containerd import until
from tests.support.native import native_bundle
from tests.support.shim import running_shim
from tests.support.traces import alive
from tests.support.traces import processes as containers

pytestmark = [pytest.mark.root, pytest.mark.guests]

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(script, **fields):
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **fields}


def telling(path, stage):
    """A hook that records its stage, its mount namespace, and the state on its input."""
    return hook(f"echo {stage} $(readlink /proc/self/ns/mnt) $(cat) >> {path}", env=["PATH=/usr/bin:/bin"])


def noted(path):
    """What the hooks have noted: (stage, mount namespace, state)."""
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
    return [(stage, namespace, json.loads(state)) for stage, namespace, state in lines]


async def test_every_hook_is_run_in_its_place_with_the_state(tmp_path):
    bundle = native_bundle(tmp_path / "b", "/usr/bin/sleep", "1000")
    path, inside = tmp_path / "noted", bundle / "rootfs/noted"
    hooks = {stage: [telling(path, stage)] for stage in STAGES if stage != "startContainer"}
    change_config(
        bundle, hooks={**hooks, "startContainer": [telling("/noted", "startContainer")]}, annotations={"a": "b"}
    )
    host = os.readlink("/proc/self/ns/mnt")
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        assert [stage for stage, _, _ in noted(path)] == ["prestart", "createRuntime", "createContainer"]
        own = os.readlink(f"/proc/{pid}/ns/mnt")
        assert [namespace for _, namespace, _ in noted(path)] == [host, host, own]
        await shim.start("c1")
        while not inside.exists() or not inside.read_text().endswith("\n"):
            pass
        await shim.kill("c1", signal.SIGKILL)
        await shim.wait("c1")
        await shim.delete("c1")
    told = {stage: state for stage, _, state in [*noted(path), *noted(inside)]}
    whole = {"ociVersion": "1.1.0", "id": "c1", "bundle": str(bundle), "annotations": {"a": "b"}}
    statuses = ("creating", "creating", "creating", "created", "running", "stopped")
    pids = (pid, pid, pid, pid, pid, 0)
    assert told == {
        stage: {**whole, "status": status, "pid": number}
        for stage, status, number in zip(STAGES, statuses, pids, strict=True)
    }
    assert [stage for stage, _, _ in noted(path)][-2:] == ["poststart", "poststop"]
    assert noted(inside)[0][1] == own


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
async def test_a_hook_that_fails_fails_create_with_what_it_says(tmp_path, guests, stage):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    stopped = tmp_path / "stopped"
    hooks = {stage: [hook("echo no device >&2; exit 3"), hook(f"touch {tmp_path}/second")]}
    change_config(bundle, hooks={**hooks, "poststop": [hook(f"touch {stopped}", env=["PATH=/usr/bin:/bin"])]})
    async with running_shim(tmp_path) as shim:
        with pytest.raises(FailedPrecondition, match=rf"'c1': hook {stage}\[0\] '/bin/sh': exit code 3: no device"):
            await shim.create("c1", bundle)
        assert not containers(shim.pid)
    assert stopped.exists()
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("stage", ["createRuntime", "createContainer"])
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (hook("sleep 60", timeout=1, env=["PATH=/usr/bin:/bin"]), "has not ended after 1 s"),
        ({"path": "/no/such"}, "No such file or directory"),
        (hook("kill -9 $$"), "signal 9"),
    ],
)
async def test_a_hanging_or_missing_hook_is_reported(tmp_path, guests, stage, made, message):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    change_config(bundle, hooks={stage: [made]})
    async with running_shim(tmp_path) as shim:
        with pytest.raises(FailedPrecondition, match=message):
            await shim.create("c1", bundle)
        await shim.call("Connect")
        assert not containers(shim.pid)


async def test_what_a_hook_has_started_is_ended_with_it(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    script = f"sleep 1000 & echo $! > {tmp_path}/child; wait"
    change_config(bundle, hooks={"createRuntime": [hook(script, timeout=1, env=["PATH=/usr/bin:/bin"])]})
    async with running_shim(tmp_path) as shim:
        with pytest.raises(FailedPrecondition, match="has not ended after 1 s"):
            await shim.create("c1", bundle)
    child = int((tmp_path / "child").read_text())
    until(lambda: not alive(child), 10)


async def test_a_hook_that_a_guests_engine_would_have_to_start_is_refused_by_name(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    change_config(bundle, hooks={"startContainer": [hook("exit 0")]})
    async with running_shim(tmp_path) as shim:
        with pytest.raises(Unimplemented, match=r"hooks\.startContainer: .* Wasm engine"):
            await shim.create("c1", bundle)


async def test_where_an_engine_may_start_programs_it_starts_hooks(tmp_path, guests):
    (tmp_path / "config.toml").write_text('seccomp = "spec"\n')
    bundle = native_bundle(tmp_path / "b", "/app.wasm")
    shutil.copy(guests / "hello.wasm", bundle / "rootfs/app.wasm")
    change_config(bundle, hooks={"startContainer": [telling("/noted", "startContainer")]})
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(tmp_path / "config.toml")}) as shim:
        assert await shim.run("c1", bundle) == 0
    assert (bundle / "rootfs/noted").read_text().startswith("startContainer ")


async def test_a_hook_before_the_guest_that_fails_keeps_it_from_running(tmp_path):
    bundle = native_bundle(tmp_path / "b", "/usr/bin/echo", "ran")
    change_config(bundle, hooks={"startContainer": [hook("echo never >&2; exit 4")]})
    fifos = Fifos(bundle)
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle, fifos) == 1
    assert fifos.output() == ("", "pelagos: hook startContainer[0] '/bin/sh': exit code 4: never [PLG-HOOK]\n")
    fifos.close()


async def test_a_hook_after_the_start_that_fails_ends_the_container(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", module=guests / "spin.wasm")
    change_config(bundle, hooks={"poststart": [hook("exit 5")]})
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        with pytest.raises(FailedPrecondition, match=r"hook poststart\[0\] '/bin/sh': exit code 5"):
            await shim.start("c1")
        assert (await shim.wait("c1")).exit_status == 137
        await shim.delete("c1")


async def test_a_hook_after_the_end_that_fails_changes_nothing(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    path = tmp_path / "second"
    change_config(bundle, hooks={"poststop": [hook("exit 6"), hook(f"touch {path}", env=["PATH=/usr/bin:/bin"])]})
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 0
    assert path.exists()


async def test_a_hook_has_the_environment_of_the_spec_and_no_descriptor_of_ours(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm")
    said = tmp_path / "said"
    change_config(
        bundle,
        hooks={
            stage: [hook(f"(export -p; ls /proc/self/fd) >> {said}.$$", env=["PATH=/usr/bin:/bin", "A=b"])]
            for stage in ("createRuntime", "createContainer")
        },
    )
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 0
    texts = [path.read_text() for path in tmp_path.glob("said.*")]
    assert len(texts) == 2
    for text in texts:
        assert "A='b'" in text
        assert "TTRPC_ADDRESS" not in text
        # 3 is the directory that ls reads
        assert [line for line in text.splitlines() if line.isdigit()] == ["0", "1", "2", "3"]
