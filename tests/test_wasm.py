"""Imports and exports, read off the sections of modules and components, real and hostile."""

import os
import random

import pytest
import wasmtime

from pelagos_core import wasm
from pelagos_core.errors import InvalidArgument
from pelagos_core.wasm import Export, Import
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
        Export("go", "function", 0),
        Export("add", "function", 2),
        Export("again", "function", 2),
        Export("mem", "memory"),
    )
    assert found.function("go").parameters == 0
    assert found.function("mem") is None


def test_a_component_has_imports_of_one_name(tmp_path):
    text = (provision.SOURCES / "component.wat").read_text()
    found = read(tmp_path, wasmtime.wat2wasm(text))
    assert Import("", "wasi:cli/stdout@0.2.0", "instance") in found.imports
    assert found.exports == (Export("wasi:cli/run@0.2.0", "instance"),)


@pytest.mark.parametrize(
    "sections",
    ["02", "02ffffffff7f", "020501", "020201ff", "0704010063 00", "02050102ffff00"],
)
def test_a_malformed_module_is_refused(tmp_path, sections):
    with pytest.raises(InvalidArgument, match="malformed WebAssembly"):
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
