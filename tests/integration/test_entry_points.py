"""What can be an entry point: libraries, functions of components, text; and what is said of what cannot."""

import json
import subprocess
import sys

import pytest

from pelagos_core.conformance import modules
from tests.support.bundles import Fifos, make_bundle
from tests.support.forms import ALL, FORMS
from tests.support.shim import running_shim

pytestmark = [pytest.mark.container, pytest.mark.guests]

# A command, whose exports initialize it themselves, as wasi-libc makes them.
OWN_FUNCTIONS = """(component
  (core module $m
    (func (export "fails") (result i32) (i32.const 1)) (func (export "ends")) (func (export "traps") unreachable)
    (func (export "takes") (param i32)) (func (export "number") (result i32) (i32.const 7)))
  (core instance $i (instantiate $m))
  (func $fails (export "fails") (result (result)) (canon lift (core func $i "fails")))
  (func $ends (export "ends") (canon lift (core func $i "ends")))
  (func (export "traps") (canon lift (core func $i "traps")))
  (func (export "takes") (param "x" u32) (canon lift (core func $i "takes")))
  (func (export "number") (result u32) (canon lift (core func $i "number")))
  (instance $e (export "ends" (func $ends)) (export "fails" (func $fails)))
  (export "my:own/functions@1.0.0" (instance $e)))"""
HANDLER = '(component (instance $e) (export "wasi:http/incoming-handler@0.2.0" (instance $e)))'
NEWER = '(component (instance $e) (export "wasi:cli/run@0.3.0" (instance $e)))'
OTHER_TYPE = """(component
  (import "wasi:cli/stdout@0.2.0" (instance (export "get-stdout" (func (param "x" u32)))))
  (core module $m (func (export "run") (result i32) (i32.const 0)) (func $start unreachable) (start $start))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $e (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $e)))"""
SAME_NAME = '(module (import "wasi_snapshot_preview1" "fd_write" {}) (func (export "_start")))'


def run(directory, form, source, *words, func=""):
    """Run a module, or text, or what a text is assembled to."""
    path = directory / "guest.wasm"
    path.write_bytes(source if isinstance(source, bytes) else modules.binary(source))
    return FORMS[form]().run(directory, f"{path}#{func}" if func else str(path), *words)


@pytest.mark.parametrize("form", ALL)
def test_a_library_is_initialized_once_before_its_function_runs(tmp_path, guests, form):
    library = (guests / "ready_library.wasm").read_bytes()
    said = run(tmp_path, form, library, func="say")
    if form.endswith("-program"):
        assert (said.returncode, "not 'say'" in said.stderr) == (126, True)
        return
    assert (said.returncode, said.stdout) == (0, "ready 1 time(s)\n"), said.stderr
    assert run(tmp_path, form, library, func="leave").returncode == 7
    said = run(tmp_path, form, (guests / "greet_library.wasm").read_bytes(), func="say")
    assert (said.returncode, said.stdout) == (0, "ready 1 time(s)\n"), said.stderr


@pytest.mark.root
async def test_a_library_is_initialized_in_an_exec_too(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    (bundle / "rootfs/library").write_bytes((guests / "ready_library.wasm").read_bytes())
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        fifos = Fifos(tmp_path)
        await shim.exec("c1", "e1", "/library#say", fifos=fifos)
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 0
        assert fifos.output() == ("ready 1 time(s)\n", "")
        fifos.close()


def test_a_library_says_that_it_is_one_and_what_it_has(tmp_path, guests):
    done = run(tmp_path, "wasmtime", (guests / "ready_library.wasm").read_bytes())
    assert done.returncode == 126
    assert (
        "exports no function '_start'; it is a library (a reactor); path#function calls one of: say(), leave()"
        in done.stderr
    )
    assert done.stderr.endswith("[PLG-MODULE]\n")


@pytest.mark.parametrize(
    ("func", "code", "output"),
    [
        ("ends", 0, "()\n"),
        ("fails", 1, "err\n"),
        ("number", 0, "7\n"),
        ("traps", 134, ""),
        ("takes", 126, ""),
        ("none", 126, ""),
        ("my:own/functions@1.0.0/ends", 0, "()\n"),
        ("my:own/functions@1.0.0/fails", 1, "err\n"),
        ("my:own/functions@1.0.0/none", 126, ""),
        ("my:own/none@1.0.0/ends", 126, ""),
    ],
)
def test_a_function_of_a_component_is_an_entry_point(tmp_path, func, code, output):
    done = run(tmp_path, "wasmtime", OWN_FUNCTIONS, func=func)
    assert (done.returncode, done.stdout) == (code, output), done.stderr
    assert run(tmp_path, "wasmtime", OWN_FUNCTIONS.encode(), func=func).returncode == code


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (OWN_FUNCTIONS, "is not a command: it exports my:own/functions@1.0.0"),
        (OTHER_TYPE, "cannot be linked: component imports instance `wasi:cli/stdout@0.2.0`"),
        (SAME_NAME.format("(memory 1)"), "fd_write as a memory, and it is a function"),
        (SAME_NAME.format("(func (param i32))"), "as (i32) -> (), and its type is (i32, i32, i32, i32) -> (i32)"),
        (SAME_NAME.format("(func (param i32))").encode(), "cannot be linked: incompatible import type"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_or_linked_is_refused_before_it_runs(tmp_path, source, message):
    done = run(tmp_path, "wasmtime", source)
    assert (done.returncode, message in done.stderr) == (126, True), done.stderr
    assert done.stderr.endswith("[PLG-MODULE]\n")


@pytest.mark.parametrize(("source", "what"), [(HANDLER, "'http'"), (NEWER, "'wasi-0.3'")])
def test_a_component_that_needs_wasmtimes_program_says_so(tmp_path, source, what):
    done = run(tmp_path, "wasmtime", source)
    said = f"it uses the feature {what}, which needs Wasmtime's program: "
    assert (done.returncode, said in done.stderr) == (126, True), done.stderr
    assert done.stderr.endswith("[PLG-ENGINE-UNFIT]\n")


@pytest.mark.parametrize("form", ["wasmtime", pytest.param("wasmer-program", marks=pytest.mark.engines)])
@pytest.mark.parametrize(
    "text",
    [
        '(func (export "_start"))',
        "(; a (; nested ;) comment ;) (module {})",
        ";; a licence\n" * 9_000 + "(module {})",
    ],
)
def test_text_is_run_however_it_begins(tmp_path, form, text):
    done = run(tmp_path, form, text.replace("{}", '(func (export "_start"))').encode())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    done = run(tmp_path, "wasmtime", '\ufeff(module (func (export "_start")))'.encode())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", ALL)
def test_a_module_of_the_first_snapshot_runs_where_the_engine_has_it(tmp_path, form):
    source = modules.says("hello").replace("wasi_snapshot_preview1", "wasi_unstable")
    done = run(tmp_path, form, source)
    if form.startswith("wasmer"):
        assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
    else:
        assert (done.returncode, done.stdout) == (126, "")
        lacks = "which needs Wasmtime's program" if form == "wasmtime" else "unknown import: wasi_unstable::"
        assert lacks in done.stderr


@pytest.mark.parametrize(
    ("source", "chosen"),
    [
        (modules.says("x"), "wasmtime"),
        (modules.UNKNOWN_IMPORT, None),
        (modules.UNKNOWN_IMPORT.encode(), None),
        (modules.NO_START, None),
        (modules.NO_START.encode(), None),
        (modules.BAD["cut in the middle"], None),
        (HANDLER, None),
        (HANDLER.encode(), None),
        (NEWER, None),
        (modules.COMPONENT.encode(), "wasmtime"),
    ],
)
def test_what_explain_says_is_what_happens(tmp_path, source, chosen):
    runs = run(tmp_path, "wasmtime", source).returncode == 0
    words = [sys.executable, "-m", "pelagos_core"]
    guest = str(tmp_path / "guest.wasm")
    said = subprocess.run(
        [*words, "backends", "--backend", "wasmtime", "--json", "--explain", guest], capture_output=True
    )
    assert (json.loads(said.stdout)["backend"], said.returncode == 0, runs) == (chosen, runs, chosen is not None)
    warmed = subprocess.run([*words, "cache", "warm", "--backend", "wasmtime", guest], capture_output=True)
    assert (warmed.returncode == 0) == runs
