"""Compiled code through a real shim: made once, shared, never trusted, never a reason to fail."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import time

import pytest

from pelagos_core.conformance import modules
from pelagos_core.conformance.environment import environment_with
from pelagos_core.errors import Cancelled, Internal, InvalidArgument, PelagosError
from tests.support import code, compiling
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.patience import until
from tests.support.shim import flags, running_shim, shim_command

pytestmark = [pytest.mark.root, pytest.mark.guests]


def mapped(pid):
    """The inodes of compiled code that a process has mapped for execution."""
    with open(f"/proc/{pid}/maps") as file:
        return {int(line.split()[4]) for line in file if "x" in line.split()[1] and line.rstrip().endswith("/code")}


def inode(cache):
    return (code.entry(cache) / "code").stat().st_ino


async def output(shim, name, bundle, **fields):
    """Run a container to its end: its exit code and output."""
    directory = bundle / "streams"
    directory.mkdir(exist_ok=True)
    fifos = Fifos(directory)
    try:
        return await shim.run(name, bundle, fifos, **fields), *fifos.output()
    finally:
        fifos.close()
        shutil.rmtree(directory)


HELLO = (0, "hello\n", "")


async def test_containers_of_all_pods_map_the_same_code(tmp_path, guests):
    cache = {"PELAGOS_CACHE_DIR": str(tmp_path / "cache")}
    pids = []
    async with contextlib.AsyncExitStack() as stack:
        for pod in ("a", "b"):
            (tmp_path / pod).mkdir()
            shim = await stack.enter_async_context(running_shim(tmp_path / pod, pod, env=cache))
            for name in ("c1", "c2"):
                pids.append(await shim.create(name, make_bundle(tmp_path / pod / name, module=guests / "spin.wasm")))
        assert {frozenset(mapped(pid)) for pid in pids} == {frozenset({inode(tmp_path / "cache")})}


async def test_two_pods_that_race_compile_once(tmp_path, guests):
    cache = {"PELAGOS_CACHE_DIR": str(tmp_path / "cache")}
    async with contextlib.AsyncExitStack() as stack:
        creations = []
        for pod in ("a", "b", "c"):
            (tmp_path / pod).mkdir()
            shim = await stack.enter_async_context(running_shim(tmp_path / pod, pod, env=cache))
            creations.append(shim.create("c1", make_bundle(tmp_path / pod / "c1", module=guests / "greet.wasm")))
        pids = await asyncio.gather(*creations)
        # A second compilation would have put another file in the first one's place.
        assert {frozenset(mapped(pid)) for pid in pids} == {frozenset({inode(tmp_path / "cache")})}


async def test_an_exec_uses_the_same_code(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        await shim.exec("c1", "e1", "/app.wasm")
        assert mapped(await shim.start("c1", "e1")) == {inode(tmp_path / "cache")}


def _open_to_all(cache):
    cache.mkdir()
    cache.chmod(0o777)


def _owned_by_another(cache):
    cache.mkdir(0o700)
    os.chown(cache, 1000, 1000)


@pytest.mark.parametrize(
    "spoil", [_open_to_all, _owned_by_another, lambda cache: cache.symlink_to("/root"), lambda cache: cache.touch()]
)
async def test_a_cache_that_others_could_write_is_left_alone_and_the_container_runs(tmp_path, guests, spoil):
    spoil(tmp_path / "cache")
    async with running_shim(tmp_path) as shim:
        for name in ("c1", "c2"):
            assert await output(shim, name, make_bundle(tmp_path / name, module=guests / "hello.wasm")) == HELLO
    assert not list((tmp_path / "cache").glob("*/code"))


def _forged(directory, data):
    """Put other bytes in, with a digest that fits, and no mark of having been looked at."""
    about = json.loads((directory / "about").read_text())
    about.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    for name, text in (("about", json.dumps(about).encode()), ("code", data)):
        (directory / name).chmod(0o600)
        (directory / name).write_bytes(text)
        (directory / name).chmod(0o444)
    (directory / "seen").unlink()


def _swapped(directory):
    path = directory / "code"
    data, times = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _linked(directory):
    moved = directory.parent.with_name("moved")
    directory.rename(moved)
    directory.symlink_to(moved)


def _huge(directory):
    (directory / "code").chmod(0o600)
    os.truncate(directory / "code", 1 << 40)
    (directory / "code").chmod(0o444)


@pytest.mark.parametrize(
    "harm",
    [
        _swapped,
        _linked,
        _huge,
        lambda directory: os.truncate(directory / "code", 100),
        lambda directory: os.truncate(directory / "code", 0),
        lambda directory: _forged(directory, b"not what the engine has made"),
        lambda directory: _forged(directory, b"\x7fELF" + bytes(5000)),
        lambda directory: os.chown(directory / "code", 1000, 1000),
        lambda directory: shutil.rmtree(directory),
    ],
    ids=["swapped", "linked", "huge", "truncated", "empty", "forged", "forged-elf", "foreign", "removed"],
)
async def test_a_damaged_entry_is_compiled_again(tmp_path, guests, harm):
    async with running_shim(tmp_path) as shim:
        bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
        assert await output(shim, "c1", bundle) == HELLO
        good = (code.entry(tmp_path / "cache") / "code").read_bytes()
        harm(code.entry(tmp_path / "cache"))
        assert await output(shim, "c1", bundle) == HELLO
        assert not code.entry(tmp_path / "cache").is_symlink()
        assert len((code.entry(tmp_path / "cache") / "code").read_bytes()) == len(good)
        assert await output(shim, "c1", bundle) == HELLO


async def test_another_module_s_code_under_this_one_s_name_is_not_run(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
        assert await output(shim, "c1", bundle) == HELLO
        entry = code.entry(tmp_path / "cache")
        entry.rename(tmp_path / "hello")
        assert await shim.run("c2", make_bundle(tmp_path / "c2", module=guests / "exit7.wasm")) == 7
        code.entry(tmp_path / "cache").rename(entry)
        assert await output(shim, "c1", bundle) == HELLO


async def test_code_in_an_image_is_never_loaded(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
        assert await shim.run("c2", make_bundle(tmp_path / "c2", module=guests / "exit7.wasm")) == 7
        compiled = code.entry(tmp_path / "cache") / "code"
        for place in ("code", "app.cwasm", f"var/cache/pelagos/{compiled.parent.name}/code"):
            (bundle / "rootfs" / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(compiled, bundle / "rootfs" / place)
        assert await output(shim, "c1", bundle) == HELLO
        native = make_bundle(tmp_path / "c3", module=compiled)
        with pytest.raises(PelagosError):
            await shim.run("c3", native)


async def test_a_full_disk_is_no_reason_to_fail(tmp_path, guests):
    (tmp_path / "cache").mkdir()
    assert os.system(f"mount -t tmpfs -o mode=700,size=8k full {tmp_path}/cache") == 0
    try:
        async with running_shim(tmp_path) as shim:
            for name in ("c1", "c2"):
                assert await output(shim, name, make_bundle(tmp_path / name, module=guests / "hello.wasm")) == HELLO
        assert set(os.listdir(tmp_path / "cache")) <= {"known", "lock"}
    finally:
        assert os.system(f"umount {tmp_path}/cache") == 0


async def test_a_bad_module_is_refused_as_ever_and_nothing_is_kept(tmp_path):
    (tmp_path / "bad.wasm").write_bytes(modules.BAD["invalid code"])
    bundle = make_bundle(tmp_path / "c1", module=tmp_path / "bad.wasm")
    async with running_shim(tmp_path) as shim:
        for _ in range(2):
            with pytest.raises(InvalidArgument, match=r"^container 'c1': '/app\.wasm' is not valid WebAssembly: "):
                await shim.create("c1", bundle)
    assert set(os.listdir(tmp_path / "cache")) <= {"known", "lock"}


async def test_checks_of_imports_and_exports_are_the_same_with_kept_code(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await output(shim, "c0", make_bundle(tmp_path / "c0", module=guests / "functions.wasm"))
        for name, module, words, message in (
            ("c1", "unknown_import", ("/app.wasm",), "has an unknown import: nobody::has_this"),
            ("c2", "functions", ("/app.wasm#none",), "exports no function 'none'"),
        ):
            bundle = make_bundle(tmp_path / name, *words, module=guests / f"{module}.wasm")
            for _ in range(2):
                with pytest.raises(InvalidArgument, match=message):
                    await shim.create(name, bundle)
    # What cannot be linked is not compiled at all.
    assert len(list((tmp_path / "cache").glob("*/code"))) == 1


async def test_compiling_is_outside_of_the_container_s_limits(tmp_path, guests):
    """A limit under which the compiler would be killed, in the container's own group."""
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "world", module=guests / "greet.wasm")
    resources = {"memory": {"limit": 48 << 20}}
    linux = {"namespaces": [{"type": kind} for kind in ("pid", "mount", "network")], "resources": resources}
    change_config(bundle, linux=linux)
    async with running_shim(tmp_path) as shim:
        assert (await output(shim, "c1", bundle))[:2] == (3, "hello from Go, world\n")


async def test_the_shim_does_not_grow_with_the_module(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await output(shim, "c0", make_bundle(tmp_path / "c0", module=guests / "hello.wasm"))
        before = _resident(shim.pid)
        for name in ("c1", "c2"):
            await output(shim, name, make_bundle(tmp_path / name, module=guests / "greet.wasm"))
        assert _resident(shim.pid) - before < 2 << 20


@pytest.mark.parametrize("seccomp", ["engine", "spec"])
async def test_a_compiler_has_no_more_system_calls_than_the_node_s_config_leaves(tmp_path, guests, seccomp):
    python = environment_with(tmp_path / "venv", greedy=compiling.GREEDY)
    (tmp_path / "config.toml").write_text(f'seccomp = "{seccomp}"\n')
    env = {"PELAGOS_CACHE_DIR": str(tmp_path / "cache"), "PELAGOS_CONFIG": str(tmp_path / "config.toml")}
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python, env=env) as shim:
        if seccomp == "spec":
            assert await shim.run("c1", bundle) == 7
        else:
            with pytest.raises(Internal, match=r"'greedy': compile: OSError: .*not implemented \[PLG-ENGINE-FAILED\]"):
                await shim.create("c1", bundle)


async def test_a_kill_ends_a_compilation_with_all_that_belongs_to_it(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "greet.wasm")
    async with running_shim(tmp_path) as shim:
        creating = asyncio.ensure_future(shim.create("c1", bundle))
        await until(lambda: _compilers(shim.pid))
        groups = _compilers(shim.pid)
        processes = [pid for group in groups for pid in _read(f"{group}/cgroup.procs").split()]
        assert (await shim.state("c1")).pid
        began = time.monotonic()
        await shim.kill("c1", signal.SIGKILL)
        with pytest.raises(Cancelled, match="container 'c1': killed while it was being created"):
            await creating
        assert time.monotonic() - began < 5
        await until(lambda: not _compilers(shim.pid))
        await until(lambda: not [pid for pid in processes if _read(f"/proc/{pid}/cmdline")])
        assert (await output(shim, "c2", make_bundle(tmp_path / "c2", module=guests / "hello.wasm"))) == HELLO


async def test_a_killed_shim_leaves_no_compiler_running(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "greet.wasm")
    async with running_shim(tmp_path) as shim:
        creating = asyncio.ensure_future(shim.create("c1", bundle))
        await until(lambda: [pid for group in _compilers(shim.pid) for pid in _read(f"{group}/cgroup.procs").split()])
        groups = _compilers(shim.pid)
        os.kill(shim.pid, signal.SIGKILL)
        with pytest.raises(PelagosError):
            await creating
        await until(lambda: not any(_read(f"{group}/cgroup.procs") for group in groups))
        assert shim_command(*flags(tmp_path, "c1"), "-bundle", str(bundle), "delete", cwd=bundle).returncode == 0
    # What it has left is swept away by the next one.
    (tmp_path / "next").mkdir()
    async with running_shim(tmp_path / "next") as shim:
        assert (await output(shim, "c2", make_bundle(tmp_path / "c2", module=guests / "hello.wasm"))) == HELLO
    assert not [group for group in groups if os.path.exists(group)]


def _compilers(pid):
    """The control groups of a shim's compilations."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if re.search(rf"/pelagos/compile-\d+-{pid}-\d+$", path)]


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _resident(pid):
    return int(_read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGESIZE")
