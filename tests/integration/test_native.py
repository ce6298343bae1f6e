"""Native programs: the pause container of a pod, its sidecars."""

import json
import os
import signal

import pytest

from pelagos_core.errors import NotFound, PelagosError, PermissionDenied
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import SPEC_MOUNTS, change_linux, config_of, native_bundle, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root]


async def run(tmp_path, bundle):
    """Run a bundle to its end; (exit code, stdout, stderr)."""
    fifos = Fifos(bundle)
    try:
        async with running_shim(tmp_path) as shim:
            code = await shim.run("c1", bundle, fifos)
            return (code, *fifos.output())
    finally:
        fifos.close()


async def test_a_program_runs_with_the_args_and_the_environment_of_the_spec(tmp_path):
    bundle = native_bundle(tmp_path / "b", "env", env=["PATH=/usr/bin:/bin", "A=1", "B=ä=ö"])
    assert await run(tmp_path, bundle) == (0, "PATH=/usr/bin:/bin\nA=1\nB=ä=ö\nHOME=/\n", "")


async def test_a_script_is_run_by_its_interpreter(tmp_path):
    bundle = native_bundle(tmp_path / "b", "/hello", "x", cwd="/work")
    (bundle / "rootfs/hello").write_text("#!/bin/sh\necho $0 $1 $(pwd)\nexit 7\n")
    (bundle / "rootfs/hello").chmod(0o755)
    assert await run(tmp_path, bundle) == (7, "/hello x /work\n", "")


async def test_what_programs_expect_of_the_kernel_is_there(tmp_path):
    script = """
    echo $$ $(cat /proc/1/comm)
    for f in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$f; done
    readlink /dev/fd /dev/stdin /dev/ptmx
    head -c 2 /dev/zero | wc -c
    echo lost > /dev/null
    findmnt() { grep " $1 " /proc/mounts | cut -d' ' -f3,4; }
    for m in /proc /dev/pts /dev/shm /dev/mqueue /sys; do findmnt $m; done
    ls /sys/class/net
    """
    code, out, err = await run(tmp_path, shell(tmp_path / "b", script))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "1 sh"
    kinds = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]
    names = ["null", "zero", "full", "random", "urandom", "tty"]
    assert lines[1:7] == [f"/dev/{n} character special file {k} 666" for n, k in zip(names, kinds, strict=True)]
    assert lines[7:11] == ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx", "2"]
    assert [line.split()[0] for line in lines[11:16]] == ["proc", "devpts", "tmpfs", "mqueue", "sysfs"]
    assert "ro," in lines[15]
    assert lines[16:] == ["lo"]


async def test_only_the_streams_are_open_and_no_signal_is_ignored_or_blocked(tmp_path):
    # Read by the shell itself: dash blocks all signals around a vfork, which a child can see.
    script = """
    ls /proc/$$/fd
    while read -r name value; do case $name in SigBlk:|SigIgn:) echo $name $value; esac; done < /proc/$$/status
    """
    code, out, err = await run(tmp_path, shell(tmp_path / "b", script))
    assert (code, err) == (0, "")
    assert out.split() == ["0", "1", "2", "SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


async def test_masked_and_read_only_paths_hold(tmp_path):
    script = "wc -c < /proc/interrupts; ls /proc/fs | wc -l; (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1; true"
    bundle = shell(tmp_path / "b", script)
    change_linux(bundle, maskedPaths=["/proc/interrupts", "/proc/fs", "/proc/none"], readonlyPaths=["/proc/sys"])
    code, out, _ = await run(tmp_path, bundle)
    assert code == 0
    assert out.split("\n")[:2] == ["0", "0"]
    assert "Read-only file system" in out


@pytest.mark.parametrize("asked", [True, False])
async def test_new_privileges_are_as_the_spec_says(tmp_path, asked):
    bundle = shell(tmp_path / "b", "grep NoNewPrivs /proc/self/status", noNewPrivileges=asked)
    assert (await run(tmp_path, bundle))[1].split() == ["NoNewPrivs:", str(int(asked))]


@pytest.mark.parametrize("namespaced", [True, False])
async def test_a_program_sees_its_own_control_groups(tmp_path, namespaced):
    bundle = shell(
        tmp_path / "b", "cat /sys/fs/cgroup/memory/cgroup.procs /sys/fs/cgroup/cgroup.procs; ls -d /sys/fs/cgroup/*"
    )
    options = ["nosuid", "noexec", "nodev", "relatime", "ro"]
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}
    change_config(bundle, mounts=[*config_of(bundle)["mounts"], mount])
    kinds = [*config_of(bundle)["linux"]["namespaces"], *([{"type": "cgroup"}] if namespaced else [])]
    change_linux(bundle, namespaces=kinds)
    _, out, _ = await run(tmp_path, bundle)
    assert out.startswith("1\n")  # and no other process


async def test_a_user_can_open_its_streams_by_name(tmp_path):
    bundle = shell(tmp_path / "b", "echo out > /dev/stdout; echo err > /dev/stderr", user={"uid": 1000, "gid": 1000})
    assert await run(tmp_path, bundle) == (0, "out\n", "err\n")


@pytest.mark.parametrize("cwd", ["/proc/self/fd/4", "/proc/1/fd/3", "/link", "/../../../../../../../../outside"])
async def test_no_working_directory_is_outside(tmp_path, cwd):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    bundle = shell(tmp_path / "b", "ls; pwd", cwd=cwd)
    os.symlink(outside, bundle / "rootfs/link")
    try:
        _, out, _ = await run(tmp_path, bundle)
    except PelagosError:
        return
    assert "secret" not in out
    assert os.listdir(outside) == ["secret"]


async def test_signals_reach_the_program_as_they_are(tmp_path):
    script = "trap 'echo got; exit 42' USR1; echo ready; while :; do sleep 0.05; done"
    bundle = shell(tmp_path / "b", script)
    fifos = Fifos(bundle)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        out = ""
        while "ready" not in out:
            out += fifos.output()[0]
        await shim.kill("c1", signal.SIGTERM)  # the kernel shields the first process from what it does not handle
        await shim.kill("c1", signal.SIGUSR1)
        assert (await shim.wait("c1")).exit_status == 42
        await shim.delete("c1")
    assert fifos.output()[0] == "got\n"
    fifos.close()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: None, NotFound, "entry point '/x': no such file or directory in the container"),
        (lambda path: path.mkdir(), PelagosError, "entry point '/x': is a directory: permission denied"),
        (lambda path: _script(path, "no program"), PelagosError, "entry point '/x' .*: exec format error"),
        (lambda path: path.write_text("#!/bin/sh\n"), PermissionDenied, "exec '/x': permission denied"),
        (
            lambda path: _script(path, "#!/no/such\n"),
            NotFound,
            "exec '/x': its interpreter '/no/such' is not .*: no such file or directory",
        ),
        (lambda path: _script(path, "#!\n"), PelagosError, "exec '/x': the script names no interpreter"),
    ],
)
async def test_a_program_that_cannot_run_fails_create_by_name(tmp_path, make, error, message):
    bundle = native_bundle(tmp_path / "b", "/x")
    make(bundle / "rootfs/x")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(error, match=f"container 'c1': .*{message}"):
            await shim.create("c1", bundle)


async def test_errors_that_only_the_kernel_detects_are_reported_at_start(tmp_path):
    bundle = native_bundle(tmp_path / "b", "/x")
    _script(bundle / "rootfs/x", "\x7fELF and no more than that")
    assert await run(tmp_path, bundle) == (126, "", "pelagos: exec '/x': exec format error\n")


async def test_an_annotation_that_names_an_engine_is_not_for_native_programs(tmp_path):
    bundle = shell(tmp_path / "b", "echo native")
    change_config(bundle, annotations={"io.pelagos.wasm.runtime": "none-such"})
    assert await run(tmp_path, bundle) == (0, "native\n", "")


async def test_dev_and_proc_as_links_of_the_image_lead_nowhere(tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    for name in ("dev", "proc"):
        bundle = make_bundle(tmp_path / name, "/x")
        _script(bundle / "rootfs/x", "#!/bin/sh\n")
        os.symlink(f"../../../../../../../../..{canary}", bundle / "rootfs" / name)
        change_config(bundle, mounts=[mount for mount in SPEC_MOUNTS if mount["destination"] == f"/{name}"])
        async with running_shim(tmp_path / name) as shim:
            with pytest.raises(PelagosError):
                await shim.create("c1", bundle)
    assert os.listdir(canary) == []


@pytest.mark.guests
@pytest.mark.parametrize("shared_pids", [False, True])
async def test_a_pod_of_a_pause_container_and_a_guest_shares_its_namespaces(tmp_path, guests, shared_pids):
    pod = {"io.kubernetes.cri.sandbox-id": "pause", "io.kubernetes.cri.container-type": "sandbox"}
    pause = native_bundle(tmp_path / "pause", "sleep", "1000", env=["PATH=/usr/bin:/bin"])
    # A pod's annotations reach its pause container too.
    change_config(pause, annotations={**pod, "io.pelagos.wasm.runtime": "wasmtime"}, hostname="the-pod")
    async with running_shim(tmp_path, group="pause") as shim:
        pid = await shim.create("pause", pause)
        await shim.start("pause")
        bundle = make_bundle(tmp_path / "app", module=guests / "spin.wasm")
        joined = {"network": "net", "ipc": "ipc", "uts": "uts"} | ({"pid": "pid"} if shared_pids else {})
        own = [{"type": kind} for kind in ("mount", "pid") if kind not in joined]
        given = [{"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in joined.items()]
        change_linux(bundle, namespaces=own + given)
        app = await shim.create("app", bundle)
        await shim.start("app")
        for name in ("net", "ipc", "uts", "pid", "mnt"):
            same = os.readlink(f"/proc/{app}/ns/{name}") == os.readlink(f"/proc/{pid}/ns/{name}")
            assert same is (name in joined.values()), name
        await shim.kill("app", signal.SIGTERM)
        assert (await shim.wait("app")).exit_status == 143
        await shim.delete("app")
        assert json.loads((pause / "config.json").read_text())["hostname"] == "the-pod"
        assert os.path.exists(f"/proc/{pid}")
        await shim.kill("pause", signal.SIGKILL)
        assert (await shim.wait("pause")).exit_status == 137
        await shim.delete("pause")


def _script(path, text):
    path.write_text(text)
    path.chmod(0o755)
