"""Guests that call deeply: what the command lines of engines run is run, and what never ends is a trap."""

import pytest
import wasmtime

from tests.support import forms
from tests.support.bundles import Fifos, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

MIB = 1 << 20
ENDLESS = """(module (memory (export "memory") 1)
  (func $down (param i64) (result i64) (local i64 i64 i64)
    (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func (export "_start") (drop (call $down (i64.const 1)))))"""
DEEP = """(module (memory (export "memory") 1)
  (func $down (param i64) (result i64) (if (result i64) (i64.eqz (local.get 0))
    (then (i64.const 0))
    (else (i64.add (call $down (i64.sub (local.get 0) (i64.const 1))) (local.get 0)))))
  (func (export "_start") (drop (call $down (i64.const 60000)))))"""
ENDLESS_COMPONENT = """(component
  (core module $m (func $down (param i64) (result i64)
      (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
    (func (export "run") (result i32) (i32.wrap_i64 (call $down (i64.const 1)))))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $r (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $r)))"""


@pytest.fixture(params=["wasmtime"])
def engine(request):
    return forms.FORMS[request.param]()


def written(directory, text):
    (directory / "written.wasm").write_bytes(wasmtime.wat2wasm(text))
    return directory / "written.wasm"


@pytest.mark.parametrize(
    ("what", "depth", "said"),
    [("frames", "30000", "30000\n"), ("frames", "60000", "60000\n"), ("json", "9999", "<nil>\n")],
)
def test_go_calls_deeply(engine, tmp_path, guests, what, depth, said):
    done = engine.run(tmp_path, "--memory", "256m", str(guests / "deep.wasm"), what, depth)
    assert (done.returncode, done.stdout) == (0, said), done.stderr


@pytest.mark.parametrize("memory", ["16m", "64m", "256m"])
@pytest.mark.parametrize("text", [ENDLESS, ENDLESS_COMPONENT], ids=["module", "component"])
def test_what_never_ends_is_a_trap_and_not_the_end_of_the_memory(engine, tmp_path, text, memory):
    done = engine.run(tmp_path, "--memory", memory, str(written(tmp_path, text)))
    assert done.returncode == 134, done
    assert "call stack exhausted" in done.stderr


async def test_a_limit_on_the_stack_of_the_process_counts(tmp_path):
    stack = {"type": "RLIMIT_STACK", "soft": 3 * MIB, "hard": 3 * MIB}
    bundle = make_bundle(tmp_path / "c1", module=written(tmp_path, ENDLESS), rlimits=[stack])
    fifos = Fifos(tmp_path)
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle, fifos) == 134
        assert "call stack exhausted" in fifos.output()[1]
    fifos.close()


async def test_an_exec_calls_as_deeply(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    (bundle / "rootfs/deep.wasm").write_bytes(wasmtime.wat2wasm(DEEP))
    (bundle / "rootfs/endless.wasm").write_bytes(wasmtime.wat2wasm(ENDLESS))
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for name, module, code in (("e1", "/deep.wasm", 0), ("e2", "/endless.wasm", 134)):
            await shim.exec("c1", name, module)
            await shim.start("c1", name)
            assert (await shim.wait("c1", name)).exit_status == code
