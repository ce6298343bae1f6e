"""A module for each proposal of WebAssembly that a backend may claim: it uses it, and returns."""

import wasmtime

TEXTS = {
    "simd": '(func (export "_start") (drop (i32x4.splat (i32.const 1))))',
    "relaxed-simd": '(func (export "_start") (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))',
    "threads": '(memory 1 1 shared) (func (export "_start") (drop (i32.atomic.load (i32.const 0))))',
    "tail-call": '(func $f) (func (export "_start") (return_call $f))',
    "exceptions": '(tag $t) (func (export "_start") (block $b (try_table (catch_all $b) (throw $t))))',
    "gc": '(type $s (struct (field i32))) (func (export "_start") (drop (struct.new $s (i32.const 1))))',
    "memory64": '(memory i64 1) (func (export "_start") (drop (i32.load (i64.const 0))))',
    "multi-memory": '(memory 1) (memory $m 1) (func (export "_start") (drop (i32.load $m (i32.const 0))))',
}


def module(name: str) -> bytes:
    """The module that uses a proposal."""
    return bytes(wasmtime.wat2wasm(f"(module {TEXTS[name]})"))
