"""Backends of third parties, good and bad, installed beside the real one."""

import asyncio
import contextlib
import os
import subprocess

import pytest

from pelagos_core.api import types_pb2
from pelagos_core.conformance.environment import add_backend, environment_with
from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument, PelagosError
from tests.support import slow_import
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.shim import running_shim
from tests.support.traces import processes

pytestmark = [pytest.mark.root, pytest.mark.guests]

HEAD = "import os, sys, time, ctypes\nfrom pelagos_core.plugin.hookspecs import Detection, hookimpl\n"
SPAWN = "\n@hookimpl\ndef pelagos_spawn(bundle, entrypoint):\n    {}\n"
DETECT = "\n@hookimpl\ndef pelagos_detect(bundle, entrypoint):\n    {}\n"
GOOD = HEAD + DETECT.format("return Detection.can(99, 'anything')")
SAYS = GOOD + SPAWN.format(
    "return lambda: os.write(1, f'{entrypoint.args} {os.getcwd()} {sorted(os.listdir(chr(47)))}'.encode()) and 11"
)

BAD = {
    "import_raises": "raise ImportError('no such engine')",
    "import_exits": "import sys; sys.exit(3)",
    "misspelt": HEAD + "@hookimpl\ndef pelagos_spwan(bundle):\n    pass\n",
    "prints": "print('noise')\n" + HEAD + DETECT.format("print('noise')") + SPAWN.format("print('noise')"),
    "raises": HEAD + DETECT.format("raise RuntimeError('I am lost')") + SPAWN.format("pass"),
    "exits": HEAD + DETECT.format("os._exit(5)") + SPAWN.format("pass"),
    "segfaults": HEAD + DETECT.format("ctypes.string_at(0)") + SPAWN.format("pass"),
    "answers_nonsense": HEAD + DETECT.format("return 'yes'") + SPAWN.format("pass"),
}


async def test_a_backend_of_two_functions_runs_a_container(tmp_path, guests):
    python = environment_with(tmp_path / "venv", says=SAYS)
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "a", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 11
        assert fifos.output()[0] == "('/app.wasm', 'a') / ['app.wasm', 'dev']"
        fifos.close()


async def test_an_annotation_names_the_backend(tmp_path, guests):
    python = environment_with(tmp_path / "venv", says=SAYS)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    change_config(bundle, annotations={"io.pelagos.wasm.runtime": "wasmtime"})
    async with running_shim(tmp_path, python=python) as shim:
        assert await shim.run("c1", bundle) == 0


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_backend_is_left_out_and_the_others_go_on(tmp_path, guests, name):
    python = environment_with(tmp_path / "venv", **{name: BAD[name]})
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output() == ("hello\n", "")
        fifos.close()
        change_config(bundle, annotations={"io.pelagos.wasm.runtime": name})
        with pytest.raises(PelagosError, match=name):
            await shim.create("c2", bundle)


async def test_a_pod_goes_on_while_a_backend_that_was_just_installed_is_slow_to_load(tmp_path, guests):
    python = environment_with(tmp_path / "venv")
    begun, go = tmp_path / "begun", tmp_path / "go"
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    change_config(bundle, annotations={"io.pelagos.wasm.runtime": "slow"})
    async with running_shim(tmp_path, python=python) as shim:
        add_backend(site, "slow", slow_import.source(begun, go) + SAYS)
        creating = asyncio.ensure_future(shim.create("c1", bundle))
        while not begun.exists():
            await asyncio.sleep(0.01)
            assert not creating.done()
        assert (await shim.call("Connect")).shim_pid == shim.pid
        await shim.call("Shutdown")  # not while a container is on its way
        go.touch()
        await creating
        await shim.start("c1")
        assert (await shim.wait("c1")).exit_status == 11


@pytest.mark.slow
async def test_a_backend_that_hangs_costs_a_few_seconds_and_is_named(tmp_path, guests):
    hangs = HEAD + DETECT.format("time.sleep(1000)") + SPAWN.format("pass")
    forever = (
        "\n    while True:\n        try:\n            time.sleep(1000)\n        except BaseException:\n            pass"
    )
    stuck = HEAD + DETECT.format(forever) + SPAWN.format("pass")
    python = environment_with(tmp_path / "venv", hangs=hangs, stuck=stuck)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        assert await shim.run("c1", bundle) == 0
        change_config(bundle, annotations={"io.pelagos.wasm.runtime": "hangs"})
        with pytest.raises(FailedPrecondition, match=r"backend 'hangs' failed in detect: .*no answer in 5 s"):
            await shim.create("c2", bundle)


@pytest.mark.parametrize(
    ("spawn", "error", "message"),
    [
        ("raise ValueError('not this one')", InvalidArgument, "backend 'bad': ValueError: not this one"),
        ("import colorsys", Internal, "import everything when the backend itself is imported"),
        ("return None", Internal, "backend 'bad': spawn returned no workload"),
        ("os._exit(9)", Internal, "backend 'bad' failed in spawn: the process exited with code 9"),
        ("ctypes.string_at(0)", Internal, "backend 'bad' failed in spawn: the process was killed by SIGSEGV"),
        ("sys.exit(2)", InvalidArgument, "backend 'bad': SystemExit: 2"),
    ],
)
async def test_a_spawn_that_fails_fails_create_by_name(tmp_path, guests, spawn, error, message):
    python = environment_with(tmp_path / "venv", bad=GOOD + SPAWN.format(spawn))
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        with pytest.raises(error, match=message):
            await shim.create("c1", bundle)


@pytest.mark.parametrize(
    ("workload", "code", "said"),
    [
        ("lambda: 1 / 0", 134, "ZeroDivisionError"),
        ("lambda: 'x'", 134, "not an exit code"),
        ("lambda: sys.exit(4)", 4, ""),
        ("lambda: os._exit(6)", 6, ""),
        ("lambda: print('printed') or 0", 0, ""),
    ],
)
async def test_a_workload_that_goes_wrong_is_the_containers_end_only(tmp_path, guests, workload, code, said):
    python = environment_with(tmp_path / "venv", odd=GOOD + SPAWN.format(f"return {workload}"))
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == code
        out, err = fifos.output()
        assert said in err
        assert out == ("printed\n" if "printed" in workload else "")
        fifos.close()


@pytest.mark.parametrize("hook", ["spawn", "code_key"])
@pytest.mark.slow
async def test_a_backend_that_never_comes_back_fails_create_by_name_after_a_time(tmp_path, guests, hook):
    """As on a lock that is held for ever: no signal ends that, and no Python code is run."""
    lock = "ctypes.PyDLL(None).pthread_mutex_lock({})"
    source = (
        GOOD + f"lock = ctypes.create_string_buffer(64)\n{lock.format('lock')}\n" + SPAWN.format(lock.format("lock"))
    )
    if hook == "code_key":
        source += "\npelagos_compile = hookimpl(lambda entrypoint: b'x')\n"
        source += f"\n@hookimpl\ndef pelagos_code_key(entrypoint):\n    {lock.format('lock')}\n"
    python = environment_with(tmp_path / "venv", stuck=source)
    (tmp_path / "config.toml").write_text("[cache]\nseconds = 1\n")
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python, env={"PELAGOS_CONFIG": str(tmp_path / "config.toml")}) as shim:
        limit = {"spawn": 1, "code_key": 7}[hook]
        told = rf"backend 'stuck' failed in {hook}: no answer in {limit} s \[PLG-ENGINE-FAILED\]"
        with pytest.raises(Internal, match=told):
            await shim.create("c1", bundle)
        assert not processes(shim.pid)
        change_config(bundle, annotations={"io.pelagos.wasm.runtime": "wasmtime"})
        assert await shim.run("c2", bundle) == 0


async def test_a_backend_that_starts_threads_is_left_out_by_name(tmp_path, guests):
    threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
    python = environment_with(tmp_path / "venv", threads=threads + SAYS)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        assert await shim.run("c1", bundle) == 0
        change_config(bundle, annotations={"io.pelagos.wasm.runtime": "threads"})
        with pytest.raises(FailedPrecondition, match=r"'threads' failed in import: it starts a thread when it is imp"):
            await shim.create("c2", bundle)


async def test_a_name_that_two_packages_claim_runs_nothing_and_the_error_names_both(tmp_path, guests):
    python = environment_with(tmp_path / "venv")
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    add_backend(site, "wasmtime", SAYS, "impostor")
    add_backend(site, "auto", SAYS, "for-everything")
    add_backend(site, "says", SAYS)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        assert await shim.run("c1", bundle) == 11
        change_config(bundle, annotations={"io.pelagos.wasm.runtime": "wasmtime"})
        with pytest.raises(FailedPrecondition, match=r"2 packages claim the name, impostor 1\.0 and pelagos-wasmtime"):
            await shim.create("c2", bundle)
    for command, stream in (("backends", "stderr"), ("doctor", "stdout")):
        words = [python, "-m", "pelagos_core", command, *(["--json"] if command == "doctor" else [])]
        told = getattr(subprocess.run(words, capture_output=True, text=True, cwd=tmp_path), stream)
        assert "2 packages claim the name, impostor 1.0 and pelagos-wasmtime" in told
        assert "the name is reserved, it stands for any backend (package for-everything 1.0)" in told


@contextlib.asynccontextmanager
async def told_to_end(tmp_path, guests, hook):
    """A shim whose container `c1` has been sent SIGTERM, by a backend whose signal hook does this."""
    source = GOOD + SPAWN.format("return lambda: time.sleep(1000) or 0")
    source += f"\n@hookimpl\ndef pelagos_signal(process, signum):\n    {hook}\n"
    python = environment_with(tmp_path / "venv", odd=source)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        await shim.kill("c1", 15)
        yield shim


async def test_no_backend_can_keep_a_container_from_being_killed(tmp_path, guests):
    async with told_to_end(tmp_path, guests, "return True") as shim:
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        await shim.kill("c1", 9)
        assert (await shim.wait("c1")).exit_status == 137


async def test_a_signal_hook_that_hangs_holds_neither_the_daemon_nor_the_signal(tmp_path, guests):
    async with told_to_end(tmp_path, guests, "time.sleep(1000)") as shim:
        assert (await shim.wait("c1")).exit_status == 143


async def test_an_exit_is_not_reported_before_the_process_has_ended(tmp_path, guests):
    hasty = GOOD + SPAWN.format("return lambda: os.write(1, b'done') and time.sleep(0.3) or 0")
    hasty += (
        "\nfrom pelagos_core.exit_status import ExitStatus\n"
        "async def now():\n    return ExitStatus.now(5)\n"
        "\n@hookimpl\ndef pelagos_wait(process):\n    return now()\n"
    )
    python = environment_with(tmp_path / "venv", hasty=hasty)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 5
        assert fifos.output()[0] == "done"
        assert fifos.at_end()
        fifos.close()
        assert not processes(shim.pid)


def test_the_command_lists_what_is_broken(tmp_path):
    python = environment_with(tmp_path / "venv", import_raises=BAD["import_raises"])
    done = subprocess.run([python, "-m", "pelagos_core", "backends"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "wasmtime" in done.stdout
    assert "backend 'import_raises' failed in import: ImportError: no such engine" in done.stderr
    assert os.path.exists(python)


@pytest.mark.parametrize(
    "wait",
    [
        "def pelagos_wait(process):\n    sys.exit(3)",
        "async def pelagos_wait(process):\n    import pelagos_core.exit_status as e\n    return e.ExitStatus.now(-9)",
        "async def pelagos_wait(process):\n    import asyncio\n    await asyncio.sleep(1000)",
        "async def pelagos_wait(process):\n    import asyncio\n    raise asyncio.CancelledError",
        "def pelagos_wait(process):\n    time.sleep(1000)",
    ],
)
async def test_a_wait_that_goes_wrong_or_never_ends_is_replaced(tmp_path, guests, wait):
    odd = GOOD + SPAWN.format("return lambda: 7") + f"\n@hookimpl\n{wait}\n"
    python = environment_with(tmp_path / "venv", odd=odd)
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        assert await shim.run("c1", bundle) == 7


async def test_an_error_text_that_is_not_utf8_still_reaches_the_client(tmp_path, guests):
    python = environment_with(
        tmp_path / "venv", bad=GOOD + SPAWN.format("raise ValueError(os.fsdecode(b'a' + bytes([255])))")
    )
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path, python=python) as shim:
        with pytest.raises(InvalidArgument, match=r"backend 'bad': ValueError: a\?"):
            await shim.create("c1", bundle)
