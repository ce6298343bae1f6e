"""Types of a component's functions, read off its sections: the same as an engine finds, and bounded."""

import os
import random
import time

import pytest
import wasmtime
from wasmtime import component

from pelagos_core.plugin import component_types
from tests.integration.test_functions import TEXTS
from tests.support import provision
from wasmtime_backend import interface, wit

NESTED = """(component
  (component $inner
    (import "import-type" (type $t (sub resource)))
    (type $point' (record (field "x" s32) (field "y" (option f64))))
    (import "import-point" (type $point (eq $point')))
    (import "f" (func $f (param "p" $point) (result (list $point))))
    (export "point" (type $point))
    (export "draw" (func $f)))
  (core module $m
    (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "f") (param i32 i32 f64) (result i32) (i32.const 0))
    (func (export "make") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (type $point'' (record (field "x" s32) (field "y" (option f64))))
  (type $thing' (resource (rep i32)))
  (export $thing "thing" (type $thing'))
  (export $point "point" (type $point''))
  (core func $drop (canon resource.drop $thing))
  (type $color' (enum "red" "green"))
  (export $color "color" (type $color'))
  (func $draw (param "p" $point) (result (list $point))
    (canon lift (core func $i "f") (memory $memory) (realloc $realloc) string-encoding=utf8))
  (func (export "paint") (param "a" s32) (param "b" (tuple s32 f64)) (result (result string (error $color)))
    (canon lift (core func $i "f") (memory $memory)))
  (instance $drawing (instantiate $inner
    (with "import-type" (type $thing)) (with "import-point" (type $point)) (with "f" (func $draw))))
  (export "my:own/drawing@1.0.0" (instance $drawing)))"""


def found(tmp_path, data):
    (tmp_path / "x.wasm").write_bytes(data)
    fd = os.open(tmp_path / "x.wasm", os.O_RDONLY)
    try:
        return component_types.functions(fd)
    finally:
        os.close(fd)


def by_an_engine(data):
    config = wasmtime.Config()
    config.wasm_component_model, config.parallel_compilation = True, False
    engine = wasmtime.Engine(config)
    functions = interface.functions(engine, component.Component(engine, data))
    return {name: wit.signature("", kind) for name, kind in functions.items()}


@pytest.mark.parametrize("text", [TEXTS, NESTED, (provision.SOURCES / "component.wat").read_text()])
def test_types_are_those_that_an_engine_finds(tmp_path, text):
    data = bytes(wasmtime.wat2wasm(text))
    assert found(tmp_path, data) == by_an_engine(data)


def test_a_type_is_reported_in_the_notation_of_wit(tmp_path):
    told = found(tmp_path, wasmtime.wat2wasm(NESTED))
    point = "record {x: s32, y: option<f64>}"
    assert told["my:own/drawing@1.0.0/draw"] == f"(p: {point}) -> list<{point}>"
    assert told["paint"] == "(a: s32, b: tuple<s32, f64>) -> result<string, enum {red, green}>"


def test_a_resource_has_its_name(tmp_path):
    source = """(component (type $r' (resource (rep i32))) (export $r "blob" (type $r'))
      (core module $m (func (export "f") (param i32))) (core instance $i (instantiate $m))
      (func (export "take") (param "x" (own $r)) (param "y" (borrow $r)) (canon lift (core func $i "g"))))"""
    source = source.replace('(export "f") (param i32)', '(export "g") (param i32 i32)')
    assert found(tmp_path, wasmtime.wat2wasm(source)) == {"take": "(x: blob, y: borrow<blob>)"}


def test_types_that_are_made_of_one_another_do_not_grow_without_end(tmp_path):
    types = "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(500))
    source = (
        f'(component (type $t0 (tuple u8)) {types} (import "f" (func $f (param "x" $t500))) (export "g" (func $f)))'
    )
    began = time.process_time()
    told = found(tmp_path, wasmtime.wat2wasm(source))
    assert (len(told["g"]) < 1000, time.process_time() - began < 2) == (True, True)


@pytest.mark.parametrize(("number", "is_told"), [(100, True), (1000, False)])
def test_an_instance_under_many_names_is_not_multiplied_without_end(tmp_path, number, is_told):
    inner = " ".join(f'(export "f{n}" (func $f))' for n in range(number))
    outer = " ".join(f'(export "i{n}" (instance $i))' for n in range(number))
    told = found(tmp_path, wasmtime.wat2wasm(f'(component (import "f" (func $f)) (instance $i {inner}) {outer})'))
    assert (told is not None) == is_told
    assert not is_told or len(told) == number * number


def test_a_long_name_is_not_repeated_without_end(tmp_path):
    inner = " ".join(f'(export "f{n}" (func $f))' for n in range(2000))
    outer = f'(export "{"i" * 100_000}" (instance $i))'
    assert (
        found(tmp_path, wasmtime.wat2wasm(f'(component (import "f" (func $f)) (instance $i {inner}) {outer})')) is None
    )


def test_components_within_one_another_do_not_have_items_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(component_types, "MAX_READ", 1000)
    types = "(type (list u8))" * 300
    for depth, is_told in ((2, True), (4, False)):
        source = f"{f'(component {types} ' * depth}{')' * depth}"
        assert (found(tmp_path, wasmtime.wat2wasm(source)) is not None) == is_told


@pytest.mark.parametrize("text", [TEXTS, NESTED])
def test_whatever_the_bytes_there_is_an_answer(tmp_path, text):
    good, noise = bytes(wasmtime.wat2wasm(text)), random.Random(7)
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(noise.randrange(1, 6)):
            data[noise.randrange(8, len(data))] = noise.randrange(256)
        told = found(tmp_path, bytes(data[: noise.randrange(8, len(data) + 1)]))
        assert told is None or all(isinstance(each, str) for each in told.values())
