"""Functions with arguments: in every engine, in an exec, with limits; and what is said of calls that do not fit."""

import subprocess

import pytest

from pelagos_core.conformance import modules
from scripts import engines
from tests.support.bundles import Fifos, make_bundle
from tests.support.component_text import MEMORY
from tests.support.forms import ALL, FORMS
from tests.support.shim import running_shim

pytestmark = [pytest.mark.container]

NUMBERS = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (global (export "pi") f64 (f64.const 3.14))
  (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
  (func (export "ready") (result i32) (global.get $ready))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "same") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3))
  (func (export "nothing") (param i32))
  (func (export "leave") (param i32) (call $exit (local.get 0)))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "spin") (param i32) (result i32) (loop (br 0)) (local.get 0))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "words") (param i32) (result i32)
    (drop (call $sizes (i32.const 0) (i32.const 4))) (i32.load (i32.const 0)))
  (func (export "vector") (param v128)))"""

TEXTS = """(component
  (core module $m
MEMORY
    (func (export "text") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))
    (func (export "invalid") (result i32)
      (i32.store (i32.const 16) (i32.const 24)) (i32.store (i32.const 20) (i32.const 1))
      (i32.store8 (i32.const 24) (i32.const 255)) (i32.const 16))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "fail") (param i32) (result i32) (local.get 0))
    (func (export "spin") (loop (br 0)))
    (func (export "nothing")))
  (core instance $i (instantiate $m))
  (type $text (func (param "s" string) (result string)))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "echo-text") (type $text) (canon lift (core func $i "text") (memory $memory) (realloc $realloc)))
  (func (export "invalid") (result string) (canon lift (core func $i "invalid") (memory $memory)))
  (func (export "is-odd") (param "fails" bool) (result (result)) (canon lift (core func $i "fail")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func $add (param "x" u32) (param "y" u32) (result u32) (canon lift (core func $i "add")))
  (func $nothing (canon lift (core func $i "nothing")))
  (instance $numbers (export "add" (func $add)) (export "do-nothing" (func $nothing)))
  (instance $more (export "add" (func $add)))
  (export "my:own/numbers@1.2.0" (instance $numbers))
  (export "my:own/more" (instance $more)))""".replace("MEMORY", MEMORY)


def run(directory, form, source, func, *words, **given):
    path = directory / "guest.wasm"
    path.write_bytes(source if isinstance(source, bytes) else modules.binary(source))
    return FORMS[form]().run(directory, *given.pop("options", ()), f"{path}#{func}", *words, **given)


CALLS = [
    ("add", ["1", "2"], "3\n"),
    ("add", ["-1", "-2"], "-3\n"),
    ("ready", [], "1\n"),
    ("same", ["4294967295", "9007199254740993", "0.1", "1e21"], "-1\n9007199254740993\n0.1\n1000000000000000000000\n"),
    ("same", ["0", "18446744073709551615", "nan", "-inf"], "0\n-1\nNaN\n-inf\n"),
    ("nothing", ["7"], ""),
    ("words", ["5"], "2\n"),
]


@pytest.mark.parametrize("form", ALL)
def test_a_function_of_a_module_is_given_numbers_and_its_results_are_printed(tmp_path, form):
    for func, words, output in CALLS:
        done = run(tmp_path, form, NUMBERS, func, *words)
        if form.endswith("-program"):
            assert (done.returncode, f"_start only, not {func!r}" in done.stderr) == (126, True)
        else:
            assert (done.returncode, done.stdout) == (0, output), done.stderr


@pytest.mark.engines
@pytest.mark.parametrize("form", ["wasmtime", "wasmedge-embedded"])
@pytest.mark.parametrize(
    ("func", "words", "code"),
    [("leave", ["7"], 7), ("leave", ["256"], 0), ("divide", ["1", "0"], 134), ("divide", ["6", "3"], 0)],
)
def test_a_function_ends_as_a_program_does(tmp_path, form, func, words, code):
    assert run(tmp_path, form, NUMBERS, func, *words).returncode == code


@pytest.mark.engines
@pytest.mark.parametrize("form", ["wasmtime", "wasmedge-embedded"])
@pytest.mark.parametrize(
    ("func", "words", "message", "reason"),
    [
        ("add", [], "add(i32, i32) -> i32, which takes 2 arguments, and is given none", "ARGUMENTS"),
        ("add", ["1", "2", "3"], "add(i32, i32) -> i32, which takes 2 arguments, and is given 3", "ARGUMENTS"),
        ("ready", ["x"], "ready() -> i32, which takes no arguments, and is given 1", "ARGUMENTS"),
        ("add", ["1", "--help"], "argument 2, '--help', is no i32", "ARGUMENTS"),
        ("add", ["1", "4294967296"], "argument 2, '4294967296', is too large for an i32", "ARGUMENTS"),
        ("vector", ["1"], "the function vector(v128): values of type v128 cannot be given", "MODULE"),
        ("pi", [], "exports no function 'pi': it is a global", "MODULE"),
        ("ad", ["1"], "exports no function 'ad'; did you mean 'add'?", "MODULE"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_before_it_runs(tmp_path, form, func, words, message, reason):
    done = run(tmp_path, form, NUMBERS, func, *words)
    assert (done.returncode, done.stdout, message in done.stderr) == (126, "", True), done.stderr
    assert done.stderr.endswith(f"[PLG-{reason}]\n")


def test_what_is_both_a_command_and_a_library_is_neither(tmp_path):
    both = '(module (func (export "_start")) (func (export "_initialize")) (func (export "f")))'
    for func in ("f", "_start", ""):
        done = run(tmp_path, "wasmtime", both, func)
        assert (done.returncode, "exports both _start and _initialize" in done.stderr) == (126, True)


def test_text_and_what_only_the_engine_understands_has_functions_with_values_too(tmp_path):
    text = '(func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))'
    assert run(tmp_path, "wasmtime", text.encode(), "double", "21").stdout == "42\n"
    gc = f"(module (type (struct (field i32))) {text})"
    assert run(tmp_path, "wasmtime", gc, "double", "21").stdout == "42\n"
    done = run(tmp_path, "wasmtime", gc, "double", "x")
    assert (done.returncode, "double(i32) -> i32: argument 1, 'x', is no i32" in done.stderr) == (126, True)


@pytest.mark.parametrize(
    ("func", "words", "code", "output"),
    [
        ("echo-text", ["hällo"], 0, '"hällo"\n'),
        ("echo-text", [""], 0, '""\n'),
        ("echo-text", ['"a\\nb"'], 0, '"a\\nb"\n'),
        ("echo-text", ["x" * 100_000], 0, f'"{"x" * 100_000}"\n'),
        ("is-odd", ["false"], 0, "ok\n"),
        ("is-odd", ["true"], 1, "err\n"),
        ("my:own/numbers@1.2.0/add", ["1", "2"], 0, "3\n"),
        ("my:own/numbers@1.2.0#add", ["1", "2"], 0, "3\n"),
        ("my:own/numbers.add", ["1", "2"], 0, "3\n"),
        ("more/add", ["4294967295", "2"], 0, "1\n"),
        ("do-nothing", [], 0, "()\n"),
        ("invalid", [], 134, ""),
    ],
)
def test_a_function_of_a_component_is_given_values_and_its_result_is_printed(tmp_path, func, words, code, output):
    done = run(tmp_path, "wasmtime", TEXTS, func, *words)
    assert (done.returncode, done.stdout) == (code, output), done.stderr


@pytest.mark.parametrize(
    ("func", "words", "message", "reason"),
    [
        ("more/add", ["1"], "add(x: u32, y: u32) -> u32, which takes 2 arguments, and is given 1", "ARGUMENTS"),
        ("more/add", ["1", "-2"], "argument 2, '-2', is out of the range of u32: 0 to 4294967295", "ARGUMENTS"),
        ("is-odd", ["yes"], "argument 1, 'yes', is no bool: true or false", "ARGUMENTS"),
        ("add", ["1", "2"], "several functions 'add': name the interface too: my:own/numbers@1.2.0/add", "MODULE"),
        ("echo-txt", ["x"], "exports no function 'echo-txt'; did you mean 'echo-text'?", "MODULE"),
        ("my:own/numbers@2.0.0/add", ["1", "2"], "exports no function 'my:own/numbers@2.0.0/add'", "MODULE"),
    ],
)  # fmt: skip
def test_a_call_that_does_not_fit_a_component_is_refused(tmp_path, func, words, message, reason):
    done = run(tmp_path, "wasmtime", TEXTS, func, *words)
    assert (done.returncode, done.stdout, message in done.stderr) == (126, "", True), done.stderr
    assert done.stderr.endswith(f"[PLG-{reason}]\n")


def test_a_handle_of_a_resource_has_no_text(tmp_path):
    source = """(component (type $r' (resource (rep i32))) (export $r "r" (type $r'))
      (core module $m (func (export "f") (param i32))) (core instance $i (instantiate $m))
      (func (export "take") (param "x" (own $r)) (canon lift (core func $i "f"))))"""
    done = run(tmp_path, "wasmtime", source, "take", "1")
    assert (done.returncode, "'take' with values that have no text: own" in done.stderr) == (126, True), done.stderr


@pytest.mark.parametrize("source", [NUMBERS, TEXTS])
def test_fuel_holds_for_a_function(tmp_path, source):
    words = ["1"] if source is NUMBERS else []
    done = run(tmp_path, "wasmtime", source, "spin", *words, options=["--annotation", "io.pelagos.wasm.fuel=100000"])
    assert (done.returncode, "all fuel consumed" in done.stderr) == (134, True), done.stderr


@pytest.mark.root
def test_a_limit_of_memory_holds_for_a_function(tmp_path):
    assert run(tmp_path, "wasmtime", NUMBERS, "grow", "100", options=["-m", "64m"]).stdout == "1\n"
    done = run(tmp_path, "wasmtime", NUMBERS, "grow", "2000", options=["-m", "64m"])
    assert (done.returncode, done.stdout, "[PLG-MEMORY]" in done.stderr) == (0, "-1\n", True), done.stderr


def test_a_result_that_nothing_reads_is_reported(tmp_path):
    path = tmp_path / "guest.wasm"
    path.write_bytes(modules.binary(NUMBERS))
    words = [FORMS["wasmtime"]().python, "-m", "pelagos_core", "run", f"{path}#add", "1", "2"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, b"No space left on device" in done.stderr) == (125, True), done.stderr


@pytest.mark.root
async def test_a_function_with_arguments_is_an_exec(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    (bundle / "rootfs/numbers").write_bytes(modules.binary(NUMBERS))
    (bundle / "rootfs/texts").write_bytes(modules.binary(TEXTS))
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for index, (words, code, output) in enumerate(
            [
                (["/numbers#add", "-1", "3"], 0, "2\n"),
                (["/numbers#ready"], 0, "1\n"),
                (["/numbers#ready"], 0, "1\n"),  # known by now
                (["/numbers#nothing", "1"], 0, ""),
                (["/numbers#leave", "9"], 9, ""),
                (["/texts#echo-text", "it's"], 0, '"it\\\'s"\n'),
                (["/texts#is-odd", "true"], 1, "err\n"),
            ]
        ):
            directory = tmp_path / f"fifos{index}"
            directory.mkdir()
            fifos = Fifos(directory)
            await shim.exec("c1", f"e{index}", *words, fifos=fifos)
            await shim.start("c1", f"e{index}")
            assert (await shim.wait("c1", f"e{index}")).exit_status == code, words
            assert fifos.output() == (output, ""), words
            fifos.close()


@pytest.mark.engines
@pytest.mark.parametrize(
    ("func", "words", "call"),
    [
        ("echo-text", [r'"it\'s \t é 😀 \u{301} \u{7} \""'], r'echo-text("it\'s \t é 😀 \u{301} \u{7} \"")'),
        ("add-more", ["1", "4294967295"], "add-more(1, 4294967295)"),
        ("numbers.do-nothing", [], "do-nothing()"),
        ("is-odd", ["false"], "is-odd(false)"),
    ],
)
def test_a_result_is_printed_as_by_the_command_line_of_wasmtime(tmp_path, func, words, call):
    source = TEXTS.removesuffix(")") + ' (export "add-more" (func $add)))'
    done = run(tmp_path, "wasmtime", source, func, *words)
    program = engines.DIRECTORY / "wasmtime/bin/wasmtime"
    other = subprocess.run([program, "run", "--invoke", call, tmp_path / "guest.wasm"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (other.returncode, other.stdout), (done.stderr, other.stderr)


@pytest.mark.engines
def test_numbers_are_printed_as_by_the_command_line_of_wasmtime(tmp_path):
    words = ["-1", "9007199254740993", "0.1", "-1e-7"]
    done = run(tmp_path, "wasmtime", NUMBERS, "same", *words)
    command = [engines.DIRECTORY / "wasmtime/bin/wasmtime", "run", "--invoke", "same", tmp_path / "guest.wasm", *words]
    assert done.stdout == subprocess.run(command, capture_output=True, text=True).stdout
