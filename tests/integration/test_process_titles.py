"""What ps, top and the neighbours in a shared pid namespace see of a container's processes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import shell
from tests.support.shim import running_shim
from tests.support.traces import comm, waiting

pytestmark = [pytest.mark.root, pytest.mark.guests]


def words(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def environment(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0")


async def end(shim):
    await shim.kill("c1", signal.SIGKILL)
    await shim.wait("c1")
    await shim.delete("c1")


async def test_a_guest_shows_its_own_words_and_no_environment(tmp_path, guests):
    args = ["/app.wasm", "--name", "a b", "", "é", "x" * 20_000]
    bundle = make_bundle(tmp_path / "c1", *args, module=guests / "spin.wasm", env=["SECRET=1"])
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        assert (words(pid), comm(pid)) == (args, "app.wasm")
        await shim.start("c1")
        assert (words(pid), comm(pid), environment(pid)) == (args, "app.wasm", b"")
        said = subprocess.run(["ps", "-o", "comm=,args=", "-p", str(pid)], capture_output=True, text=True, check=True)
        assert said.stdout.split()[:3] == ["app.wasm", "/app.wasm", "--name"]
        await shim.exec("c1", "e1", "/app.wasm#_start", "of", "the", "exec")
        inner = await shim.start("c1", "e1")
        assert (words(inner), comm(inner), environment(inner)) == (
            ["/app.wasm#_start", "of", "the", "exec"],
            "app.wasm",
            b"",
        )
        await end(shim)


async def test_a_guest_in_a_user_namespace_shows_its_own_words(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "word" * 1000, module=guests / "spin.wasm")
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    kinds = [{"type": kind} for kind in ("user", "pid", "ipc", "mount")]
    change_config(bundle, linux={"namespaces": kinds, "uidMappings": maps, "gidMappings": maps})
    for path in (bundle / "rootfs", bundle / "rootfs/app.wasm"):
        os.chown(path, 100000, 100000)
    for parent in bundle.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o711)
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        assert (words(pid), comm(pid)) == (["/app.wasm", "word" * 1000], "app.wasm")
        await end(shim)


async def test_the_shims_own_processes_have_different_names(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        (nursery,) = waiting(shim.pid)
        assert (comm(shim.pid), words(shim.pid)[0]) == ("pelagos-shim", "containerd-shim-wasm-v1")
        assert words(shim.pid)[1:5] == ["-namespace", "test", "-id", "pod"]
        assert words(nursery)[0].endswith("/pelagos_native/bin/pelagos-nursery")
        await end(shim)


async def test_a_neighbour_in_a_shared_pid_namespace_sees_a_program_like_others(tmp_path, guests):
    guest = make_bundle(tmp_path / "guest", "/app.wasm", "serve", module=guests / "spin.wasm", env=["TOKEN=guest"])
    script = "cd /proc; for p in [0-9]*; do tr '\\0' ' ' < $p/cmdline; cat $p/environ; echo; done 2>&1"
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", guest)
        await shim.start("c1")
        neighbour = shell(tmp_path / "n", script)
        shared = [{"type": "pid", "path": f"/proc/{pid}/ns/pid"}, *({"type": kind} for kind in ("mount", "ipc"))]
        change_config(neighbour, linux={"namespaces": shared})
        fifos = Fifos(tmp_path)
        await shim.create("n", neighbour, fifos)
        await shim.start("n")
        await shim.wait("n")
        seen = fifos.output()[0]
        fifos.close()
        assert seen.startswith("/app.wasm serve ")
        assert not [word for word in ("containerd", "pelagos", "TTRPC_ADDRESS", "TOKEN=guest") if word in seen]
        await shim.delete("n")
        await end(shim)
