"""The data of a module, taken out of it and laid out in pages."""

import os

import pytest
import wasmtime

from wasmtime_backend import image

PAGE = image._PAGE


def split(text):
    return image.split(bytes(wasmtime.wat2wasm(text)))


def test_data_becomes_pages_and_the_last_of_what_overlaps_counts():
    module, pages = split(
        f'(module (memory 2) (data (i32.const {PAGE - 2}) "abcd") (data (i32.const {PAGE - 1}) "XY"))'
    )
    assert {number: bytes(page).strip(b"\0") for number, page in pages.items()} == {0: b"aX", 1: b"Yd"}
    assert (bytes(pages[0][-2:]), bytes(pages[1][:2])) == (b"aX", b"Yd")
    assert b"abcd" not in module
    wasmtime.Module.validate(wasmtime.Engine(), module)


def test_code_that_names_pieces_by_numbers_finds_as_many():
    text = """(module (memory 1) (data (i32.const 1) "abc") (data (i32.const 9) "d")
      (func (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 0)) (data.drop 0)))"""
    module, pages = split(text)
    assert bytes(pages[0][:10]) == b"\0abc\0\0\0\0\0d"
    assert b"abc" not in module
    wasmtime.Module.validate(wasmtime.Engine(), module)


@pytest.mark.parametrize(
    "text",
    [
        '(module (memory 1) (data (i32.const 65535) "abc"))',
        '(module (memory 1) (data (i32.const -1) "abc"))',
        '(module (memory 1) (data "abc"))',
        '(module (memory 1) (memory 1) (data (memory 1) (i32.const 0) "abc"))',
        '(module (global $g (import "a" "b") i32) (memory 1) (data (global.get $g) "abc"))',
        '(module (memory 1) (data (i32.add (i32.const 1) (i32.const 2)) "abc"))',
        '(module (memory 1 2 shared) (data (i32.const 0) "abc"))',
    ],
    ids=["behind it", "before it", "placed by code", "another memory", "by a global", "calculated", "shared"],
)
def test_what_depends_on_something_or_is_a_trap_stays(text):
    module = bytes(wasmtime.wat2wasm(text))
    assert image.split(module) == (module, {})


def test_small_pieces_far_apart_stay():
    pieces = " ".join(f'(data (i32.const {number * PAGE * 2}) "x")' for number in range(3000))
    module = bytes(wasmtime.wat2wasm(f"(module (memory 400) {pieces})"))
    assert image.split(module) == (module, {})


@pytest.mark.parametrize("length", range(8, 30, 3))
def test_a_module_that_ends_too_early_is_no_error_here(length):
    module = bytes(wasmtime.wat2wasm('(module (memory 1) (data (i32.const 1) "abc"))'))
    image.split(module[:length])


def test_a_number_without_an_end_costs_nothing():
    module = b"\0asm\1\0\0\0\x0b" + b"\xff" * (1 << 20)
    assert image.split(module) == (module, {})


def test_pages_are_found_again_behind_the_code(tmp_path):
    pages = {0: bytearray(b"a" * PAGE), 1: bytearray(b"b" * PAGE), 7: bytearray(b"c" * PAGE)}
    (tmp_path / "code").write_bytes(image.pack(bytearray(b"code"), pages))
    with open(tmp_path / "code", "rb") as file:
        runs = image.runs(file.fileno())
        found = [(run.address, os.pread(file.fileno(), run.length, run.offset)) for run in runs]
    assert found == [(0, b"a" * PAGE + b"b" * PAGE), (7 * PAGE, b"c" * PAGE)]
    assert all(run.offset % PAGE == 0 for run in runs)


@pytest.mark.parametrize("data", [b"", b"x" * 15, b"x" * 5000, image._TAIL.pack(image._MAGIC, 1 << 60)])
def test_what_is_not_of_its_making_is_reported(tmp_path, data):
    (tmp_path / "code").write_bytes(data)
    with open(tmp_path / "code", "rb") as file:
        assert image.runs(file.fileno()) is None
