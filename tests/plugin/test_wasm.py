"""Imports and exports, read off the sections of modules and components, real and hostile."""

import os
import random
import time

import pytest
import wasmtime

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import wasm
from pelagos_core.plugin.interface import Export, Import
from tests.support import provision

MODULE = """(module
  (import "env" "f" (func (param i32 i64)))
  (import "env" "t" (table 1 2 funcref))
  (import "env" "m" (memory 1))
  (import "env" "g" (global (mut i32)))
  (func (export "go") (result i32) (i32.const 1))
  (func (export "add") (param i32 i32) (result i32) (local.get 0))
  (export "again" (func 0))
  (export "mem" (memory 0)))"""


def read(tmp_path, data):
    (tmp_path / "x.wasm").write_bytes(data)
    fd = os.open(tmp_path / "x.wasm", os.O_RDONLY)
    try:
        return wasm.read(fd)
    finally:
        os.close(fd)


def test_a_module_says_what_it_needs_and_offers(tmp_path):
    found = read(tmp_path, wasmtime.wat2wasm(MODULE))
    assert [str(item) for item in found.imports] == ["env::f", "env::t", "env::m", "env::g"]
    assert [item.kind for item in found.imports] == ["function", "table", "memory", "global"]
    assert found.exports == (
        Export("go", "function", "() -> (i32)"),
        Export("add", "function", "(i32, i32) -> (i32)"),
        Export("again", "function", "(i32, i64) -> ()"),
        Export("mem", "memory"),
    )
    assert (found.function("go").parameters, found.function("go").results) == ((), ("i32",))
    assert found.function("add").parameters == ("i32", "i32")
    assert found.function("mem") is None


def test_the_types_of_imported_functions_are_reported_and_others_are_passed_over(tmp_path):
    text = """(module
      (import "a" "memory64" (memory i64 1 0x1_0000_0000))
      (import "a" "shared" (memory 1 2 shared))
      (import "a" "table" (table i64 1 externref))
      (import "a" "global" (global (mut externref)))
      (import "a" "f" (func (param i32 i64 f32 f64) (result i32 i32))))"""
    found = read(tmp_path, wasmtime.wat2wasm(text))
    assert [item.name for item in found.imports] == ["memory64", "shared", "table", "global", "f"]
    assert found.imports[-1].signature == "(i32, i64, f32, f64) -> (i32, i32)"


def test_a_module_with_types_of_a_later_proposal_has_functions_of_unknown_type(tmp_path):
    text = '(module (type (struct (field i32))) (import "a" "f" (func (param i32))) (func (export "go") (param i32)))'
    found = read(tmp_path, wasmtime.wat2wasm(text))
    assert (found.imports[0].signature, found.function("go").parameters) == ("", None)


def test_many_functions_of_many_types_cost_little(tmp_path):
    functions = " ".join(f"(func (type {number}))" for number in range(200)) * 200
    types = " ".join(f"(type (func {'(param i32)' * number}))" for number in range(200))
    data = wasmtime.wat2wasm(f'(module {types} {functions} (export "last" (func 39999)))')
    began = time.process_time()
    assert read(tmp_path, data).function("last").parameters == ("i32",) * 199
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "data",
    [
        b"\0asm\1\0\0\0" + bytes.fromhex("0206 0101 61 00 7f 00"),  # a compact import section
        b"\0asm\x0d\0\1\0" + bytes.fromhex("0a07 01 02 0161 00 05 00"),  # a name with options
    ],
)
def test_what_is_not_understood_is_left_to_the_engine(tmp_path, data):
    assert read(tmp_path, data) is wasm.UNKNOWN


@pytest.mark.parametrize("head", [b"\0asm\2\0\0\0", b"\0asm\xff\0\0\0", b"\0asm\x0c\0\1\0"])
def test_another_version_of_the_format_is_refused(tmp_path, head):
    with pytest.raises(InvalidArgument, match="not valid WebAssembly: version"):
        read(tmp_path, head)


def test_a_component_has_imports_of_one_name(tmp_path):
    text = (provision.SOURCES / "component.wat").read_text()
    found = read(tmp_path, wasmtime.wat2wasm(text))
    assert Import("", "wasi:cli/stdout@0.2.0", "instance") in found.imports
    assert found.exports == (Export("wasi:cli/run@0.2.0", "instance"),)


@pytest.mark.parametrize(
    "sections",
    [
        "02", "02ffffffff7f", "020501", "020201ff", "0704010063 00", "02050102ffff00",
        "0301 00 0101 00",  # types after functions
        "0101 00 0101 00",  # types twice
        "0e01 00",  # a section of no kind
        "0104 01600000 0302 0100",  # a function without code
        "0104 01600000 0302 0100 0a01 00",  # code for no function
        "0104 01600000 0302 0101 0704 0100 0000 0a04 0102000b",  # a function of a type that is not there
        "0104 01600000 0302 0100 0704 0100 0005 0a04 0102000b",  # an export of a function that is not there
        "0306 ffff ffff 0f00",  # four billion functions
        "0002 01ff",  # a name that is not UTF-8
        "0002 0261",  # a name that is longer than its section
    ],
)  # fmt: skip
def test_a_malformed_module_is_refused(tmp_path, sections):
    with pytest.raises(InvalidArgument, match="not valid WebAssembly"):
        read(tmp_path, b"\0asm\1\0\0\0" + bytes.fromhex(sections))


@pytest.mark.parametrize("source", [MODULE, (provision.SOURCES / "component.wat").read_text()])
def test_whatever_the_bytes_the_answer_is_an_interface_or_one_error(tmp_path, source):
    good, noise = bytes(wasmtime.wat2wasm(source)), random.Random(7)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(noise.randrange(1, 6)):
            data[noise.randrange(8, len(data))] = noise.randrange(256)
        try:
            read(tmp_path, bytes(data[: noise.randrange(8, len(data) + 1)]))
        except InvalidArgument:
            pass


@pytest.mark.parametrize(
    "data",
    [
        b"\3" + bytes.fromhex("81808001 05") + b"\xff" * (2 << 20),  # numbers without an end
        b"\0\1\0" * 400_000,
        b"\1" + bytes.fromhex("d3af8a07 b0b63c") + (b"\x60\x0c" + b"\x6f" * 12 + b"\0") * 990_000,
        b"\7" + bytes.fromhex("83b3e303 b0b63c") + b"\5aaaaa\3\0" * 990_000,
        b"\1" + bytes.fromhex("85808004 01 60 8080c003") + b"\x7f" * (8 << 20) + b"\0",  # parameters
    ],
    ids=["numbers", "sections", "types", "exports", "parameters"],
)
def test_hostile_bytes_cost_little(tmp_path, data):
    began = time.process_time()
    try:
        read(tmp_path, b"\0asm\1\0\0\0" + data)
    except InvalidArgument:
        pass
    # Seconds of the processor at most, under coverage too; a time that is quadratic would be hours.
    assert time.process_time() - began < 30


@pytest.mark.parametrize("name", ["x" * 300, "é" * 200])
def test_a_custom_section_may_have_a_long_name(tmp_path, name):
    text = f'(module (@custom "{name}" "bytes") (func (export "_start")))'
    found = read(tmp_path, wasmtime.wat2wasm(text))
    assert name.startswith(found.custom[0])
    assert found.function("_start")


def test_a_module_says_how_much_memory_it_begins_with(tmp_path):
    text = '(module (import "a" "b" (memory 9)) (memory 1) (memory i64 0x100000000 0x200000000) (memory 2 3 shared))'
    assert read(tmp_path, wasmtime.wat2wasm(text)).memories == (1 << 16, 1 << 48, 2 << 16)
    with pytest.raises(InvalidArgument, match="pages of"):
        read(tmp_path, b"\0asm\1\0\0\0\5\5\1\x08\1\xff\x01")
