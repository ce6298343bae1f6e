"""Hostile guests, on every engine: what they try by any spelling reaches nothing but their files."""

import asyncio
import os
import re
import subprocess
import sys

import pytest

from tests.support import forms
from tests.support.bundles import Fifos
from tests.support.native import shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow]

# Wasmer gives its guests names of their own for the streams that they have anyway.
OWN_STREAMS = {"dev/stdin", "dev/tty"}
# What `/` of the host, mounted on /host, brings along.
OF_THE_HOST = [
    f"host/{path}"
    for path in (
        "proc/self/mem",
        "proc/self/environ",
        "proc/self/root/etc/passwd",
        "proc/thread-self/mem",
        "proc/1/mem",
        "proc/1/root/etc/passwd",
        "proc/sys/kernel/core_pattern",
        "dev/fd/0",
        "dev/mem",
        "dev/null",
        "sys/kernel/notes",
        "sys/fs/cgroup/memory/cgroup.procs",
        "sys/fs/cgroup/cgroup.procs",
    )
]


@pytest.fixture(params=forms.ALL)
def engine(request):
    return forms.FORMS[request.param]()


@pytest.fixture
def directory(tmp_path):
    """A directory with a file that a guest may read, one in which it may write, and a secret beside."""
    (tmp_path / "data").mkdir()
    (tmp_path / "control").write_text("this may be read")
    (tmp_path / "secret").write_text("this may not")
    for name, target in {
        "up": "..",
        "top": "/",
        "far": "../../../../../..",
        "secret": tmp_path / "secret",
        "mem": "/proc/self/mem",
        "environment": "/proc/self/environ",
        "descriptors": "/dev/fd",
        "magic": "/proc/self/root",
    }.items():
        (tmp_path / "data" / name).symlink_to(target)
    return tmp_path


def opened(done):
    """What the attacker got, as (how, path) pairs; it must have tried a lot."""
    *lines, last = done.stdout.splitlines()
    assert int(last.split()[0]) > 2500, (last, done.stderr)
    pairs = [tuple(line.removeprefix("OPENED ").rsplit(" ", 1)) for line in lines]
    # The link in the container's own /dev is there, and leads nowhere: /proc is not.
    return {pair for pair in pairs if pair[1] not in OWN_STREAMS and pair != ("readlink", "dev/fd")}


def attack(engine, directory, guests, *words, flags=()):
    return engine.run(
        directory,
        *("--volume", f"{directory / 'control'}:/control", "--volume", f"{directory / 'data'}:/data"),
        *(*flags, str(guests / "attack.wasm"), "/data", "--", *words),
    )


def test_the_attacker_would_get_at_its_engine_if_nothing_stopped_it(guests):
    """Without pelagos, with `/` preopened: so the other tests can fail."""
    body = """if True:
        import sys, wasmtime
        engine = wasmtime.Engine()
        store, linker, wasi = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
        linker.define_wasi()
        wasi.argv = ["attack"]
        wasi.preopen_dir("/", "/")
        wasi.inherit_stdout()
        store.set_wasi(wasi)
        linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1])).exports(store)["_start"](store)
    """
    words = [sys.executable, "-c", body, str(guests / "attack.wasm")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    found = opened(done)
    assert ("write", "proc/self/mem") in found
    assert ("read", "proc/self/environ") in found
    assert ("read", "etc/passwd") in found


def test_no_spelling_reaches_the_engine_or_the_host(engine, directory, guests):
    links = [f"data/{name}" for name in ("mem", "environment", "secret", "descriptors/0", "magic/etc/passwd")]
    ways = [
        f"data/{start}/{path}" for start in ("up", "top", "far", "..", "../..") for path in ("secret", "proc/self/mem")
    ]
    # What an engine that is a program has around the container.
    around = (
        "usr/bin",
        "usr/bin/wasmer",
        "usr/bin/wasmedge",
        "lib64",
        "lib/x86_64-linux-gnu",
        "guest/control",
        "tmp/x",
    )
    ways += [f"data/{start}/{path}" for start in ("up", "top", "far") for path in around]
    done = attack(engine, directory, guests, "secret", *links, *ways)
    assert opened(done) == set(), done.stderr
    assert (directory / "secret").read_text() == "this may not"


def test_what_it_may_open_is_reported(engine, directory, guests):
    """The attacker sees the files that exist: so it finds nothing because there is nothing."""
    found = opened(attack(engine, directory, guests, "control"))
    assert {("read", "control"), ("stat", "control"), ("libc", "/control")} <= found


@pytest.mark.parametrize("source", ["/proc", "/proc/1", "/proc/self", "/proc/thread-self", "/dev/fd", "/sys"])
def test_a_mount_of_the_kernels_views_is_refused_by_name(engine, directory, guests, source):
    done = attack(engine, directory, guests, flags=("--volume", f"{source}:/x:ro"))
    assert (done.returncode, done.stdout) == (125, "")
    assert "mount on '/x'" in done.stderr
    assert "access its own engine" in done.stderr


def test_what_a_mount_of_the_host_brings_along_is_taken_away(engine, directory, guests):
    flags = ("--volume", "/:/host:ro")
    # The rest of the host is mounted: so the attacker does not fail because of a missing mount.
    assert ("list", "host/usr") in opened(attack(engine, directory, guests, "host/usr", flags=flags))
    found = opened(attack(engine, directory, guests, *OF_THE_HOST, flags=flags))
    # Of what is below these, not a thing: the directories themselves are there, and empty.
    assert not [pair for pair in found if re.match(r"(host/)?(proc|sys)/.", pair[1])]
    assert not [
        pair for pair in found if re.match(r"(host/)?dev/", pair[1]) and pair[0] not in ("stat", "list", "read")
    ]
    assert not found & {
        (how, f"host/dev/{name}") for how in ("read", "write", "libc") for name in ("mem", "null", "fd/0")
    }
    read = engine.run(directory, *flags, str(guests / "tool.wasm"), "read", "/host/etc/passwd")
    if engine.backend != "wasmer":  # which cannot read read-only files
        assert read.stdout.startswith("root:"), read.stderr


def test_a_root_with_proc_mounted_in_it_shows_none(engine, directory, guests):
    root = directory / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "attack.wasm").write_bytes((guests / "attack.wasm").read_bytes())
    mounts = [root / "proc", root / "a/b/deep"]
    for path in mounts:
        path.mkdir()
        subprocess.run(["mount", "-t", "proc", "proc", path], check=True)
    try:
        done = engine.run(directory, str(root), "/attack.wasm", "--", "a/b/deep/self/mem", "a/b/deep/1/environ")
    finally:
        for path in mounts:
            subprocess.run(["umount", path], check=True)
    assert {path for _, path in opened(done)} <= {"proc"}, done.stderr  # the directory, with nothing in it


def test_a_guest_has_no_descriptor_or_variable_of_ours(engine, directory, guests):
    done = engine.run(directory, "--env", "ONLY=this", str(guests / "tool.wasm"), "env")
    assert done.stdout.split() == ["ONLY=this"], done.stderr
    assert not [pair for pair in opened(attack(engine, directory, guests)) if pair[0] == "descriptor"]


def test_harmless_devices_exist_and_their_nodes_belong_to_no_user_of_the_container(engine, directory, guests):
    before = os.stat("/dev/null")
    found = opened(attack(engine, directory, guests, "dev/null", "dev/urandom"))
    assert {("read", "dev/null"), ("write", "dev/null"), ("read", "dev/urandom")} <= found
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode, after.st_mtime) == (before.st_ino, before.st_mode, before.st_mtime)


def test_devices_of_the_host_are_no_way_out(engine, directory, guests):
    (directory / "memory").mkdir()
    for name, kind in {"mem": (1, 1), "port": (1, 4)}.items():
        os.mknod(directory / "memory" / name, 0o20666, os.makedev(*kind))
    flags = ("--volume", f"{directory / 'memory'}:/memory")
    found = opened(attack(engine, directory, guests, "memory/mem", "memory/port", flags=flags))
    assert {how for how, _ in found} <= {"stat"}
    done = attack(engine, directory, guests, flags=("--volume", f"{directory / 'memory/mem'}:/dev/mem"))
    assert (done.returncode, done.stdout) == (125, "")
    assert "mount on '/dev/mem'" in done.stderr


async def test_a_hostile_guest_that_joins_a_native_container_finds_no_more(engine, directory, guests):
    """In it /proc, /sys and devices are mounted, for its native processes."""
    config = directory / "joining.toml"
    config.write_text(f'runtime = "{engine.backend}"\n{engine.config}')
    bundle = shell(directory / "c1", "sleep 1000")
    (bundle / "rootfs/attack.wasm").write_bytes((guests / "attack.wasm").read_bytes())
    async with running_shim(directory, python=engine.python, env={"PELAGOS_CONFIG": str(config)}) as shim:
        init = await shim.create("c1", bundle)
        await shim.start("c1")
        assert os.path.exists(f"/proc/{init}/root/proc/1/mem")
        fifos = Fifos(directory)
        await shim.exec("c1", "e1", "/attack.wasm", "/dev", "--", "proc/1/mem", fifos=fifos)
        await shim.start("c1", "e1")
        waiting, out, err = asyncio.ensure_future(shim.wait("c1", "e1")), "", ""
        while not waiting.done() or not out.endswith(" opened\n"):
            out, err = (said + more for said, more in zip((out, err), fifos.output(), strict=True))
            await asyncio.sleep(0.01)
        assert (await waiting).exit_status in (0, 1), err
        fifos.close()
    found = opened(subprocess.CompletedProcess([], 0, out, err))
    found.discard(("readlink", "dev/fd"))  # a link that leads nowhere
    assert not [pair for pair in found if re.match(r"(proc|sys)/.|dev/(mem|fd|kmsg|pts/.)|.*proc/1", pair[1])]
    assert not [pair for pair in found if "write" in pair[0] and pair[1].startswith("dev/")]
