"""Text: how it begins, and what it imports and exports, as an assembler reads it; and hostile text."""

import os
import random
import time

import pytest
import wasmtime

from pelagos_core.conformance import modules
from pelagos_core.plugin import wasm, wat
from pelagos_core.plugin.interface import UNKNOWN, Export, Import
from tests.plugin.test_wasm import MODULE
from tests.support import provision

INLINE = r"""(; (; nested ;) (import "no" "no") ;)
  (module $m ;; (import "no" "no")
    (func $f (import "env" "a\"b") (param i32))
    (global $g (import "env" "\67") i32)
    (memory (export "mem") (export "again") 1)
    (func (export "_start") (export "é") (drop (i32.const 1)))
    (export "out" (func $f)))"""
BARE = '(import "env" "f" (func)) (func (export "_start") (call 0))'
COMPONENT = """(component
  (type $t (instance (export "no" (func))))
  (import "wasi:io/poll@0.2.3" (instance (type $t)))
  (import "plain" (func))
  (import "r" (type $r (sub resource)))
  (import "e" (type (eq $t)))
  (core module $m (import "no" "no" (func)) (func (export "go")))
  (core instance $i (instantiate $m (with "no" (instance (export "no" (func 0))))))
  (func $go (export "go") (canon lift (core func $i "go")))
  (instance $e (export "run" (func $go)))
  (export $x "wasi:cli/run@0.2.0" (instance $e)))"""


def read(tmp_path, text, module=wat):
    (tmp_path / "x").write_bytes(text.encode() if isinstance(text, str) else text)
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        return module.read(fd)
    finally:
        os.close(fd)


def names(interface):
    """Imports and exports without the parts that are not in the text."""
    imports = [(item.module, item.name, item.kind) for item in interface.imports]
    return imports, [(item.name, item.kind) for item in interface.exports]


@pytest.mark.parametrize(
    "text",
    [MODULE, INLINE, BARE, modules.says("x"), modules.FUNCTIONS, (provision.SOURCES / "component.wat").read_text()],
)
def test_text_says_the_same_as_what_is_assembled_of_it(tmp_path, text):
    found, assembled = names(read(tmp_path, text)), names(read(tmp_path, wasmtime.wat2wasm(text), wasm))
    assert [sorted(each) for each in found] == [sorted(each) for each in assembled]


def test_a_component_says_what_is_its_own_and_not_what_lies_within(tmp_path):
    found = read(tmp_path, COMPONENT)
    assert found.is_component
    assert found.imports == (
        Import("", "wasi:io/poll@0.2.3", "instance"),
        Import("", "plain", "function"),
        Import("", "r", "resource"),
        Import("", "e", "type"),
    )
    assert set(found.exports) == {Export("go", "function"), Export("wasi:cli/run@0.2.0", "instance")}


@pytest.mark.parametrize(
    "text", ['(module binary "\\00asm\\01\\00\\00\\00")', '(module quote "(func)")', "(module", "(module))", "(func) )"]
)
def test_what_is_not_understood_is_left_to_the_engine(tmp_path, text):
    assert read(tmp_path, text) is UNKNOWN


@pytest.mark.parametrize(
    "text",
    [b"(" * 5_000_000, b"(;" * 130_000, b"(" * 260_000, b'"' * 260_000, b"((" * 99_999, b'\\"' * 130_000],
)
def test_hostile_text_costs_little(tmp_path, text):
    began = time.process_time()
    read(tmp_path, text)
    # Seconds of the processor at most, under coverage too; a time that is quadratic would be hours.
    assert time.process_time() - began < 30


def test_whatever_the_text_the_answer_is_an_interface(tmp_path):
    noise = random.Random(3)
    for _ in range(500):
        data = bytearray(COMPONENT.encode())
        for _ in range(noise.randrange(1, 6)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        assert isinstance(read(tmp_path, bytes(data)), wasm.Interface)
