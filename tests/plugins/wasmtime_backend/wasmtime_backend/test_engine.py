"""The messages of Wasmtime's Python package about files."""

import pytest
import wasmtime

from wasmtime_backend import engine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(module (func (call 1))", "expected `)` (line 1, column 24)"),
        ("(module\n  (func (i32.ad)))", "unknown operator or unexpected token (line 2, column 10)"),
        ("(module (func (result i32)))",
         "failed to compile: wasm[0]::function[0]: 0: WebAssembly translation error: 1: Invalid input WebAssembly code "
         "at offset 24: type mismatch: expected i32 but nothing on stack"),
    ],
)  # fmt: skip
def test_an_error_of_the_engine_is_one_line_without_an_excerpt_of_the_file(text, message):
    with pytest.raises(wasmtime.WasmtimeError) as raised:
        wasmtime.Module(wasmtime.Engine(), wasmtime.wat2wasm(text))
    assert engine._one_line(raised.value) == message
