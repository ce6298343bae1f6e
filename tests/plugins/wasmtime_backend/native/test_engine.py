"""Guests by the native part, and by the backend's Python: each ends the same way, with the same words."""

import os
import random
from dataclasses import replace

import pytest
import wasmtime
from wasmtime import _ffi

from pelagos_core.conformance import modules
from pelagos_core.plugin import sockets
from pelagos_core.plugin.entrypoint import Preopen
from pelagos_core.plugin.hookspecs import NativePart
from pelagos_core.plugin.limits import Limits
from tests.support import engine_part
from tests.support.absent import ABSENT
from tests.support.engine_part import ROOT, Guest
from wasmtime_backend import engine, image
from wasmtime_backend.network import LACKING

SOURCES = sorted((ROOT / "plugins/wasmtime_backend/native").glob("*.c"))
MIB = 1 << 20
GUESTS = ROOT / "tests/guests"

pytestmark = pytest.mark.compiler


def wat(text):
    return bytes(wasmtime.wat2wasm(text))


def file(name):
    return wat((GUESTS / f"{name}.wat").read_text())


class Part:
    """The driver and the native part, of one compiler."""

    def __init__(self, directory, sanitized):
        self.is_sanitized = sanitized
        self.driver, self.library = engine_part.compiled(directory, SOURCES, sanitized=sanitized)

    def run(self, guest, code, directory, *options, **changes):
        part = replace(NativePart.of(str(self.library), str(_ffi.filename)), **changes)
        return engine_part.run([self.driver], part, guest, code, directory, *options)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "sanitized"])
def part(request, tmp_path_factory):
    return Part(tmp_path_factory.mktemp("part"), request.param)


def compiled(guest, directory):
    """The code of a guest, made without threads: another test may have made some here, which a fork has lost."""
    entrypoint = guest.entrypoint(directory)
    path = directory / "code"
    with pytest.MonkeyPatch.context() as patch:
        made = engine.prepared.make_engine
        patch.setattr(engine.prepared, "make_engine", lambda *words, parallel: made(*words, parallel=False))
        path.write_bytes(engine.compile(entrypoint))
    os.close(entrypoint.file)
    return path


def both(part, guest, directory, *options):
    """What came of it both ways, which is the same; code addresses differ from run to run in neither."""
    code = compiled(guest, directory)
    outcome = part.run(guest, code, directory, *options)
    assert outcome == engine_part.run_in_python(engine.load, guest, code, directory)
    return outcome


# Modules.

COMMANDS = {
    "hello": Guest(file("hello")),
    "returns": Guest(wat('(module (func (export "_start")))')),
    "exit 7": Guest(file("exit7")),
    "exit 0": Guest(modules.binary(modules.leaves(0))),
    "exit 255": Guest(modules.binary(modules.leaves(255))),
    "exit 256": Guest(modules.binary(modules.leaves(256))),
    "exit -1": Guest(modules.binary(modules.leaves(-1))),
    "stderr": Guest(modules.binary(modules.says("oh", 2))),
    "large output": Guest(modules.binary(modules.LARGE)),
    "arguments": Guest(modules.binary(modules.ARGUMENTS), args=("a", "", "b c", "é")),
    "no arguments": Guest(modules.binary(modules.ARGUMENTS), args=()),
    "variables": Guest(modules.binary(modules.ENVIRONMENT), env=("A=1", "B=", "C==x=y", "D=é", "E")),
    "input": Guest(modules.binary(modules.COPIES_INPUT)),
    "a function": Guest(file("functions"), func="five"),
    "functions in order": Guest(modules.binary(modules.LIBRARY), func="ready"),
    "a command with results": Guest(wat('(module (func (export "_start") (result i32 f64) i32.const 1 f64.const 2))')),
    "a start function leaves": Guest(
        wat(
            '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
            '(func $s (call $exit (i32.const 9))) (start $s) (func (export "_start")))'
        )
    ),
    **{f"trap: {name}": Guest(modules.binary(text)) for name, text in modules.TRAPS.items()},
    "trap in a start function": Guest(wat('(module (func $s unreachable) (start $s) (func (export "_start")))')),
    "trap with names": Guest(file("trap")),
    "active data outside": Guest(wat('(module (memory 1) (data (i32.const 65535) "abc") (func (export "_start")))')),
    "exit from the deep": Guest(
        wat(
            '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
            "(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))))"
            '(else (call $exit (i32.const 3))))) (func (export "_start") (call $f (i32.const 10000))))'
        )
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_module_ends_the_same_way(part, tmp_path, name):
    outcome = both(part, COMMANDS[name], tmp_path)
    assert outcome.stage == "run"


@pytest.mark.parametrize("name", ["exit 7", "exit 0", "exit -1", "exit from the deep", "a start function leaves"])
def test_a_guest_may_leave_from_within(part, tmp_path, name):
    guest = COMMANDS[name]
    code = compiled(guest, tmp_path)
    returned, left = part.run(guest, code, tmp_path), part.run(guest, code, tmp_path, "-L")
    assert (left.stage, left.number, left.code) == ("left", returned.number, returned.code)


def test_a_library_is_initialized_before_it_is_called(part, tmp_path):
    assert both(part, COMMANDS["functions in order"], tmp_path).code == 1


def test_files_of_its_directories_are_reached_under_their_names(part, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("content")
    directories = (Preopen("/", str(tmp_path / "root")),)
    outcome = both(part, Guest(modules.binary(modules.reads("x")), directories=directories), tmp_path)
    assert outcome.stdout == b"content"
    both(part, Guest(modules.binary(modules.writes("y", "new")), directories=directories), tmp_path)
    assert (tmp_path / "root" / "y").read_text() == "new"
    assert both(part, Guest(modules.binary(modules.reads("none")), directories=directories), tmp_path).code == 54
    assert both(part, Guest(modules.binary(modules.FIRST_PREOPEN), directories=directories), tmp_path).stdout == b"/"
    assert both(part, Guest(modules.binary(modules.FIRST_PREOPEN)), tmp_path).code == 102
    gone = both(part, Guest(modules.binary(modules.says("x")), directories=(Preopen("/", ABSENT),)), tmp_path)
    assert (gone.number, gone.text) == (-1, "failed to add preopen dir")


def test_words_that_are_no_utf_8_are_refused_by_the_engine(part, tmp_path):
    code = compiled(COMMANDS["arguments"], tmp_path)
    assert part.run(Guest(b"\0asm\1\0\0\0", args=("\udcff",)), code, tmp_path).text == "failed to configure argv"
    outcome = part.run(Guest(b"\0asm\1\0\0\0", env=("A=\udcff",)), code, tmp_path)
    assert (outcome.number, outcome.text) == (-1, "failed to configure environment")


# Linking.

UNLINKED = {
    "an unknown import": modules.binary(modules.UNKNOWN_IMPORT),
    "an unknown function of WASI": modules.binary(modules.UNKNOWN_WASI_FUNCTION),
    "another type": wat(
        '(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start")))'
    ),
    "a memory": wat('(module (import "a" "b" (memory 1)) (func (export "_start")))'),
}


@pytest.mark.parametrize("name", UNLINKED)
def test_what_cannot_be_linked_is_refused_before_it_runs(part, tmp_path, name):
    outcome = both(part, Guest(UNLINKED[name]), tmp_path)
    assert (outcome.stage, outcome.number) == ("load", -22)
    assert outcome.text.startswith("cannot be linked: ")


@pytest.mark.parametrize("name", ["a\nb", "a \n b\n\nc ", "\n".join("abcdefgh"), "x\n" * 5000, "é\n" * 5000])
def test_a_name_of_many_lines_is_reported_in_one(part, tmp_path, name):
    quoted = "".join(f"\\{byte:02x}" for byte in name.encode())
    guest = Guest(wat(f'(module (import "env" "{quoted}" (func)) (func (export "_start")))'))
    code = compiled(guest, tmp_path)
    outcome, in_python = part.run(guest, code, tmp_path), engine_part.run_in_python(engine.load, guest, code, tmp_path)
    assert (outcome.stage, outcome.number) == (in_python.stage, in_python.number) == ("load", -22)
    assert in_python.text.startswith(outcome.text)
    assert len(outcome.text.encode()) >= min(len(in_python.text.encode()), 4094)
    assert "\n" not in outcome.text


# Fuel, memory, stack.

COUNTS = wat('(module (func (export "_start") (local i32) (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) '
             '(i32.const 1))) (i32.const 1000))))))')  # fmt: skip


@pytest.mark.parametrize(("fuel", "number"), [(0, -1), (100, -1), (1_000_000, 0), ((1 << 63) - 1, 0)])
def test_fuel_is_what_it_may_use(part, tmp_path, fuel, number):
    guest = Guest(COUNTS, limits=Limits(fuel=fuel or None))
    outcome = (
        both(part, guest, tmp_path)
        if fuel
        else part.run(guest, compiled(Guest(COUNTS, limits=Limits(fuel=1)), tmp_path), tmp_path, "-f", "0")
    )
    assert outcome.number == number
    assert number == 0 or "all fuel consumed by WebAssembly" in outcome.text


GROWS = {
    "not at all": (modules.grows(0), 40 * 65536, 0),
    "up to its limit": (modules.grows(10), 50 * 65536, 0),
    "beyond it": (modules.grows(11), 50 * 65536, 1),
    "from beyond it": (modules.grows(1), 65536, 1),
}


@pytest.mark.parametrize("name", GROWS)
def test_memory_grows_as_the_limit_allows(part, tmp_path, name):
    text, limit, code = GROWS[name]
    assert both(part, Guest(modules.binary(text), limits=Limits(memory=limit)), tmp_path).code == code
    now = Guest(modules.binary(text), limits=Limits(memory=1 << 40), allowed=limit)
    assert both(part, now, tmp_path).code == code


def exits(body, definitions=""):
    """A module that leaves with the lowest byte of a number."""
    return wat(
        f'(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {definitions}'
        f'(func (export "_start") (call $exit {body})))'
    )


MEMORIES = {
    "two of them, together": (
        exits("(i32.add (memory.grow 0 (i32.const 5)) (memory.grow 1 (i32.const 5)))", "(memory 1) (memory 2)"),
        10 * 65536,
        (1 - 1) & 0xFF,
    ),
    "of 64 bits": (exits("(i32.wrap_i64 (memory.grow (i64.const 3)))", "(memory i64 2)"), 5 * 65536, 2),
    "of 64 bits, beyond": (exits("(i32.wrap_i64 (memory.grow (i64.const 4)))", "(memory i64 2)"), 5 * 65536, 255),
    "up to its maximum": (exits("(memory.grow (i32.const 2))", "(memory 1 2)"), MIB, 255),
    "many": (exits("(memory.grow 30 (i32.const 1))", "(memory 1) " * 31), 40 * 65536, 1),
    "none": (exits("(i32.const 4)"), 65536, 4),
    "none of it at first": (exits("(memory.grow (i32.const 1))", "(memory 0)"), 65536, 0),
    "written and read": (
        exits("(block (result i32) (drop (memory.grow (i32.const 1))) (i32.store (i32.const 131068) (i32.const 77))"
              "(i32.load (i32.const 131068)))", "(memory 1)"),
        4 * 65536,
        77,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMORIES)
def test_memories_of_all_kinds(part, tmp_path, name):
    data, limit, code = MEMORIES[name]
    assert both(part, Guest(data, limits=Limits(memory=limit)), tmp_path).code == code


def test_a_memory_of_64_bits_grows_where_it_is(part, tmp_path):
    pages = (16 << 30) // 65536
    grown = exits(f"(i32.eq (i32.wrap_i64 (memory.grow (i64.const {pages}))) (i32.const 1))", "(memory i64 1)")
    beyond = exits(f"(i32.wrap_i64 (memory.grow (i64.const {pages + 1})))", "(memory i64 1)")
    assert both(part, Guest(grown), tmp_path).code == 1
    assert both(part, Guest(beyond), tmp_path).code == 255


@pytest.mark.parametrize("begin", [0, 65536])
def test_an_image_is_what_the_memory_begins_with(part, tmp_path, begin):
    text = f"""(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 4) (data (i32.const {begin + 16}) "first") (data (i32.const 140000) "second")
      (func $say (param i32 i32) (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
        (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
      (func (export "_start") (call $say (i32.const {begin + 16}) (i32.const 5))
        (call $say (i32.const 140000) (i32.const 6))))"""
    outcome = both(part, Guest(wat(text)), tmp_path)
    assert (outcome.code, outcome.stdout) == (0, b"firstsecond")


def test_one_guests_writes_are_not_anothers(part, tmp_path):
    guest = Guest(exits("(block (result i32) (i32.load8_u (i32.const 8)) (i32.store8 (i32.const 8) (i32.const 9)))",
                        '(memory 1) (data (i32.const 8) "\\05")'))  # fmt: skip
    code = compiled(guest, tmp_path)
    assert [part.run(guest, code, tmp_path, "-n", "3").code, part.run(guest, code, tmp_path).code] == [5, 5]


@pytest.mark.parametrize("name", ["of 32 bits", "of 64 bits", "hundreds"])
def test_memories_without_address_space_are_refused(part, tmp_path, name):
    text, space = {
        "of 32 bits": ("(memory 65536)", 3 << 30),
        "of 64 bits": (f"(memory i64 {1 << 40})", 0),
        "hundreds": ("(memory 1) " * 100, 300 << 30),
    }[name]
    if space and part.is_sanitized:
        pytest.skip("a sanitizer needs address space of its own")
    outcome = both(part, Guest(exits("(i32.const 1)", text), space=space), tmp_path)
    assert (outcome.stage, outcome.number) == ("load", -22)
    assert "of memory: no address space for it: " in outcome.text


@pytest.mark.parametrize(
    ("memory", "elements", "grown"), [(None, 1000, 10), (8 * 1000, 999, 10), (8 * 1000, 1001, 255)]
)
def test_tables_are_limited_once_it_runs(part, tmp_path, memory, elements, grown):
    data = exits(f"(table.grow (ref.null func) (i32.const {elements - 10}))", "(table 10 funcref)")
    outcome = both(part, Guest(data, limits=Limits(memory=memory)), tmp_path)
    assert outcome.code == (grown if elements > 10 else 0)


DEEP = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func $f (param i32) (result i32) (if (result i32) (local.get 0)
    (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))
  (func (export "_start") (call $exit (i32.eq (call $f (i32.const {depth})) (i32.const {depth})))))"""


@pytest.mark.parametrize(
    ("depth", "memory", "stack", "code"),
    [
        (150_000, None, 0, 1),
        (1_000_000, None, 0, 134),
        (15_000, 8 * MIB, 0, 1),
        (150_000, 8 * MIB, 0, 134),
        (20_000, None, 4 * MIB, 1),
        (150_000, None, 4 * MIB, 134),
    ],
)
def test_calls_are_as_deep_as_the_stack_is_large(part, tmp_path, depth, memory, stack, code):
    guest = Guest(wat(DEEP.format(depth=depth)), limits=Limits(memory=memory), stack=stack)
    outcome = both(part, guest, tmp_path)
    assert outcome.code == code
    assert code == 1 or "call stack exhausted" in outcome.text


# Components.


def component(body, result="(result (result))", core="(result i32)", more=""):
    return wat(
        f'(component (core module $m {more} (func (export "run") {core} {body})) (core instance $i (instantiate $m))'
        f'(func $run {result} (canon lift (core func $i "run"))) (instance $e (export "run" (func $run)))'
        '(export "wasi:cli/run@0.2.3" (instance $e)))'
    )


EXITS_0_2 = """(component
  (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
  (core func $exit (canon lower (func $exit "exit")))
  (core module $m (import "a" "exit" (func $e (param i32)))
    (func (export "run") (result i32) (call $e (i32.const CODE)) (i32.const 0)))
  (core instance $i (instantiate $m (with "a" (instance (export "exit" (func $exit))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $e (export "run" (func $run))) (export "wasi:cli/run@0.2.0" (instance $e)))"""

EXITS_WITH_CODE = EXITS_0_2.replace(
    '"exit" (func (param "status" (result)))', '"exit-with-code" (func (param "status-code" u8))'
)
EXITS_WITH_CODE = EXITS_WITH_CODE.replace('lower (func $exit "exit")', 'lower (func $exit "exit-with-code")')

MEMORY, IS_REFUSED = "(memory 1)", "(i32.eq (memory.grow (i32.const 9)) (i32.const -1))"
COMPONENTS = {
    "hello": (Guest(file("component")), 0),
    "an error": (Guest(file("component_error")), 1),
    "ok": (Guest(component("(i32.const 0)")), 0),
    "by its name": (Guest(component("(i32.const 1)"), func="wasi:cli/run@0.2.3/run"), 1),
    "without a result": (Guest(component("", "", "")), 0),
    "a number": (Guest(component("(i32.const 1)", "(result u32)")), 0),
    "a trap": (Guest(component("(unreachable)")), 134),
    "a trap by fuel": (Guest(component("(loop (br 0)) (i32.const 0)"), limits=Limits(fuel=1000)), 134),
    "exit 0": (Guest(wat(EXITS_0_2.replace("CODE", "0"))), 0),
    "exit 1": (Guest(wat(EXITS_0_2.replace("CODE", "1"))), 1),
    **{f"exit with {code}": (Guest(wat(EXITS_WITH_CODE.replace("CODE", str(code)))), code) for code in (0, 1, 42, 255)},
    "growth": (Guest(component("(memory.grow (i32.const 9))", more=MEMORY), limits=Limits(memory=MIB)), 1),
    "no growth": (Guest(component(IS_REFUSED, more=MEMORY), limits=Limits(memory=MIB // 2)), 1),
    "too deep": (Guest(component("(call 0)")), 134),
}  # fmt: skip


REFUSED = "pelagos: the guest asked for wasi:sockets/tcp-create-socket@0.2.0, and {} [PLG-NETWORK]\n"


@pytest.mark.parametrize(("network", "why"), [(False, sockets.NO_NETWORK), (True, LACKING)])
def test_sockets_that_a_guest_does_not_get_are_refused_and_reported_the_same_way(part, tmp_path, network, why):
    outcome = both(part, Guest(file("bind"), network=network), tmp_path)
    assert (outcome.code, outcome.stderr.decode()) == (1, REFUSED.format(why))


@pytest.mark.components
@pytest.mark.parametrize(("name", "args"), [("network", ("x", "look-up", "a")), ("fetch", ("x", "127.0.0.1"))])
def test_names_and_requests_are_refused_the_same_way(part, tmp_path, components, name, args):
    outcome = both(part, Guest((components / f"{name}.wasm").read_bytes(), args=args), tmp_path)
    assert outcome.code == 1
    assert b"and it has no network [PLG-NETWORK]\n" in outcome.stderr


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_ends_the_same_way(part, tmp_path, name):
    guest, code = COMPONENTS[name]
    assert both(part, guest, tmp_path).code == code


RUN = '(instance $e) (export "wasi:cli/run@0.2.0" (instance $e))'
BAD_COMPONENTS = {
    "an unknown import": (
        Guest(wat(f'(component (import "a:b/c@0.1.0" (instance (export "f" (func)))) {RUN})')),
        "cannot be linked: ",
    ),
    "another type": (
        Guest(wat(f'(component (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func)))) {RUN})')),
        "cannot be linked: ",
    ),
    "no function": (
        Guest(component("(i32.const 0)").replace(b"\3run", b"\3sun")),
        "exports no function 'wasi:cli/run@0.2.3/run'",
    ),
    "an argument": (
        Guest(component("", '(param "x" u32)', "(param i32)")),
        "has a function 'wasi:cli/run@0.2.3/run' that takes arguments",
    ),
}


@pytest.mark.parametrize("name", BAD_COMPONENTS)
def test_a_component_that_cannot_run_is_refused(part, tmp_path, name):
    guest, text = BAD_COMPONENTS[name]
    outcome = both(part, guest, tmp_path)
    assert (outcome.stage, outcome.number) == ("load", -22)
    assert outcome.text.startswith(text)


# Code that is not what it should be.


def spoilt(code, how):
    data = bytearray(code.read_bytes())
    if how == "nothing":
        data.clear()
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "cut, with its list":
        data = data[:1000] + data[-16:]
    elif how == "garbage with a list":
        data = bytearray(os.urandom(5000)) + data[-16:]
    elif how == "of another engine":
        assert b"\x0250" in data
        data = data.replace(b"\x0250", b"\x0249", 1)
    code.write_bytes(data)


@pytest.mark.parametrize("how", ["nothing", "cut", "cut, with its list", "garbage with a list", "of another engine"])
@pytest.mark.parametrize("name", ["hello", "component"])
def test_code_that_is_spoilt_is_not_used(part, tmp_path, name, how):
    guest = Guest(file(name))
    code = compiled(guest, tmp_path)
    spoilt(code, how)
    outcome = part.run(guest, code, tmp_path)
    in_python = engine_part.run_in_python(engine.load, guest, code, tmp_path)
    assert [(each.stage, each.number) for each in (outcome, in_python)] == [("load", -116)] * 2


PAGE = image._PAGE
LISTS = {
    "not whole pages": [(1, PAGE, PAGE)],
    "at no page of the file": [(0, 8, PAGE)],
    "half a page": [(0, PAGE, PAGE // 2)],
    "nothing": [(0, PAGE, 0)],
    "outside of the file": [(0, 1 << 20, PAGE)],
    "far outside": [(0, (1 << 64) - PAGE, PAGE)],
    "longer than the file": [(0, PAGE, 1 << 40)],
    "too long for a number": [(0, PAGE, (1 << 64) - PAGE)],
    "far away": [((1 << 64) - PAGE, PAGE, PAGE)],
    "one on another": [(0, PAGE, 2 * PAGE), (PAGE, PAGE, PAGE)],
    "backwards": [(4 * PAGE, PAGE, PAGE), (0, PAGE, PAGE)],
    "too many": [(number * PAGE, PAGE, PAGE) for number in range(1001)],
}


def listed(code, runs):
    """Code with another list of pages behind it: what a compiler may write that the module has taken over."""
    table = b"".join(image._RUN.pack(*run) for run in runs)
    code.write_bytes(code.read_bytes() + bytes(4 * PAGE) + table + image._TAIL.pack(image._MAGIC, len(runs)))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_pages_that_leads_elsewhere_is_not_used(part, tmp_path, name):
    guest = Guest(file("hello"))
    code = compiled(guest, tmp_path)
    listed(code, LISTS[name])
    outcome = part.run(guest, code, tmp_path)
    assert (outcome.stage, outcome.number, outcome.text) == ("load", -116, "it has no list of the memory's pages")


def test_pages_behind_the_memory_are_not_mapped(part, tmp_path):
    guest = Guest(file("hello"))
    code = compiled(guest, tmp_path)
    listed(code, [(65536, PAGE, PAGE)])
    assert part.run(guest, code, tmp_path).stage == "run"


def test_any_list_of_pages_is_refused_or_mapped(part, tmp_path):
    chance = random.Random(7)
    guest = Guest(file("hello"))
    code = compiled(guest, tmp_path)
    data = code.read_bytes()
    for _ in range(40):
        code.write_bytes(data)
        count = chance.randrange(1, 4)
        listed(
            code,
            [tuple(chance.randrange(1 << chance.randrange(1, 65)) & -PAGE for _ in range(3)) for _ in range(count)],
        )
        assert part.run(guest, code, tmp_path).stage in ("load", "run")


def test_a_long_text_is_cut_at_a_whole_letter(part, tmp_path):
    guest = Guest(wat(f'(module (func $"{"é" * 50_000}" unreachable) (func (export "_start") (call 0)))'))
    code = compiled(guest, tmp_path)
    text = part.run(guest, code, tmp_path).text
    assert len(text.encode()) in (4094, 4095)
    assert engine_part.run_in_python(engine.load, guest, code, tmp_path).text.startswith(text)


def test_code_of_other_settings_is_not_used(part, tmp_path):
    counting = Guest(COUNTS, limits=Limits(fuel=10**6))
    code = compiled(counting, tmp_path)
    outcome = part.run(Guest(COUNTS), code, tmp_path)
    assert outcome == engine_part.run_in_python(engine.load, Guest(COUNTS), code, tmp_path)
    assert (outcome.stage, outcome.number) == ("load", -116)


def test_a_component_is_no_module(part, tmp_path):
    code = compiled(Guest(file("component")), tmp_path)
    assert part.run(Guest(file("hello")), code, tmp_path).number == -116
    code = compiled(Guest(file("hello")), tmp_path)
    assert part.run(Guest(file("component")), code, tmp_path).number == -116


def test_code_that_is_gone_is_the_engines_fault(part, tmp_path):
    outcome = part.run(Guest(file("hello")), tmp_path / "none", tmp_path)
    assert (outcome.stage, outcome.number, outcome.text) == ("load", -2, "the compiled code: No such file or directory")


# The engine's library.


def test_another_library_than_the_one_that_was_compared_is_refused(part, tmp_path):
    code = compiled(Guest(file("hello")), tmp_path)
    outcome = part.run(Guest(file("hello")), code, tmp_path, settings="1:2:3:4")
    assert (outcome.stage, outcome.number) == ("warm", -2)
    assert "another file than the one that was checked" in outcome.text
    for path in (ABSENT, str(part.library)):
        assert part.run(Guest(file("hello")), code, tmp_path, engine=path).stage == "warm"


def test_guests_of_one_nursery_have_random_numbers_of_their_own(part, tmp_path):
    text = """(module (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "\\40\\00\\00\\00\\10")
      (func (export "_start") (drop (call $r (i32.const 64) (i32.const 16)))
        (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    guest = Guest(wat(text))
    code = compiled(guest, tmp_path)
    said = part.run(guest, code, tmp_path, "-n", "5").stdout
    assert len({said[at : at + 16] for at in range(0, 80, 16)}) == 5
