"""The kit's guests in text format: small programs, each for one behaviour.

`wasmtime.wat2wasm` assembles them, a library function that runs no engine.
"""

from __future__ import annotations

import functools

# Memory: 0 an iovec, 8 a result, 16-63 scratch, 1024 texts, 65536 a buffer of 64 KiB and more.
_WASI = """
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 40)
  (table 2 funcref)
  (type $nothing (func))

  ;; Write all of a text; exit with 100 if that fails.
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (loop $more
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $size))
      (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 100))))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
      (br_if $more (local.get $size))))

  ;; Copy a descriptor to stdout up to its end.
  (func $copy (param $fd i32)
    (block $end
      (loop $more
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 65536))
        (if (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 101))))
        (br_if $end (i32.eqz (i32.load (i32.const 8))))
        (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 8)))
        (br $more))))

  ;; The descriptor of the last preopen `/`, as in wasi-libc; exit with 102 if there is none.
  (func $root (result i32) (local $fd i32) (local $found i32)
    (local.set $fd (i32.const 3))
    (loop $next
      (if (call $fd_prestat_get (local.get $fd) (i32.const 16))
        (then
          (if (i32.eqz (local.get $found)) (then (call $proc_exit (i32.const 102))))
          (return (local.get $found))))
      (i32.store16 (i32.const 4096) (i32.const 0))
      (drop (call $fd_prestat_dir_name (local.get $fd) (i32.const 4096) (i32.load (i32.const 20))))
      ;; The name is `/`, or empty: some engines leave the slash out, some count a final NUL.
      (if (i32.or (i32.eqz (i32.load8_u (i32.const 4096)))
                  (i32.eq (i32.load16_u (i32.const 4096)) (i32.const 47)))
        (then (local.set $found (local.get $fd))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; Open the path at 1024 below `/`; exit with 10 plus the error if that fails.
  (func $open (param $length i32) (param $oflags i32) (param $rights i64) (result i32) (local $error i32)
    (local.set $error (call $path_open (call $root) (i32.const 0) (i32.const 1024) (local.get $length)
      (local.get $oflags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 40)))
    (if (local.get $error) (then (call $proc_exit (i32.add (i32.const 10) (local.get $error)))))
    (i32.load (i32.const 40)))
"""

NOT_FOUND = 10 + 44


def program(body: str, definitions: str = "") -> str:
    """A command of WASI 0.1 whose `_start` is `body`."""
    return f'(module {_WASI} {definitions}\n  (func $main (export "_start") {body}))'


def text(at: int, content: str) -> str:
    """A data segment."""
    return f'(data (i32.const {at}) "{content}")'


def leaves(code: int) -> str:
    """A guest that exits with this code."""
    return program(f"(call $proc_exit (i32.const {code}))")


def says(content: str, fd: int = 1) -> str:
    """A guest that writes a text and returns."""
    return program(f"(call $write (i32.const {fd}) (i32.const 1024) (i32.const {len(content)}))", text(1024, content))


def reads(path: str) -> str:
    """A guest that copies a file to stdout. path: relative to `/`."""
    return program(f"(call $copy (call $open (i32.const {len(path)}) (i32.const 0) (i64.const 2)))", text(1024, path))


def writes(path: str, content: str) -> str:
    """A guest that creates a file with this content. path: relative to `/`."""
    opened = f"(call $open (i32.const {len(path)}) (i32.const 9) (i64.const 64))"
    body = f"(call $write {opened} (i32.const 2048) (i32.const {len(content)}))"
    return program(body, text(1024, path) + text(2048, content))


def grows(pages: int) -> str:
    """A guest that exits with 1 if its memory cannot grow by `pages` of 64 KiB, else with 0."""
    return program(f"(call $proc_exit (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)))")


def _listed(kind: str) -> str:
    sizes = f"(drop (call ${kind}_sizes_get (i32.const 16) (i32.const 20)))"
    get = f"(drop (call ${kind}_get (i32.const 65536) (i32.const 131072)))"
    return program(f"{sizes} {get} (call $write (i32.const 1) (i32.const 131072) (i32.load (i32.const 20)))")


ARGUMENTS = _listed("args")
"""Writes its arguments, each with a final NUL."""

ENVIRONMENT = _listed("environ")
"""Writes its variables, each with a final NUL."""

COPIES_INPUT = program("(call $copy (i32.const 0))")
"""Copies stdin to stdout until end of file."""

LARGE_BYTES = 100 * 65536
LARGE = program(
    "(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))"
    " (global.set $count (i32.add (global.get $count) (i32.const 1)))"
    " (br_if $more (i32.lt_u (global.get $count) (i32.const 100))))",
    "(global $count (mut i32) (i32.const 0))",
)
"""Writes LARGE_BYTES NULs."""

SPINS = program(
    "(call $write (i32.const 1) (i32.const 1024) (i32.const 6)) (loop $more (br $more))", text(1024, "ready\\0a")
)
"""Writes `ready` and never ends."""

WAITS = program(
    "(call $write (i32.const 1) (i32.const 1024) (i32.const 6)) (call $copy (i32.const 0))", text(1024, "ready\\0a")
)
"""Writes `ready` and copies stdin."""

FIRST_PREOPEN = program(
    "(if (call $fd_prestat_get (i32.const 3) (i32.const 16)) (then (call $proc_exit (i32.const 102))))"
    "(drop (call $fd_prestat_dir_name (i32.const 3) (i32.const 4096) (i32.load (i32.const 20))))"
    "(call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))"
)
"""Writes the name of its first preopened directory."""

FUNCTIONS = program(
    "(call $proc_exit (i32.const 1))",
    '(func (export "five") (call $proc_exit (i32.const 5))) (func (export "takes") (param i32))',
)
"""Exports `five`, which exits with 5, and `takes`, which has a parameter."""

LIBRARY = f"""(module {_WASI}
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
  (func (export "ready") (call $proc_exit (global.get $ready))))"""
"""A library (reactor): `ready` exits with the number of times that the library was initialized."""

VALUES = f"""(module {_WASI}
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
  (func (export "ready") (result i32) (global.get $ready))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "takes") (param i64))
  (func (export "same") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"""
"""A library whose functions take and return numbers."""

CALLS = [
    ("ready", (), b"1\n"),
    ("add", ("1", "-3"), b"-2\n"),
    ("takes", ("1",), b""),
    ("same", ("4294967295", "9007199254740993", "0.1", "1e21"), b"-1\n9007199254740993\n0.1\n1000000000000000000000\n"),
    ("same", ("-0", "18446744073709551615", "nan", "-inf"), b"0\n-1\nNaN\n-inf\n"),
]
"""Calls of the functions in VALUES: function, arguments and output."""

TRAPS = {
    "unreachable": program("(unreachable)"),
    "memory out of bounds": program("(drop (i32.load (i32.const 0x7fffffff)))"),
    "division by zero": program("(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
    "indirect call of nothing": program("(call_indirect (type $nothing) (i32.const 1))"),
    "without WASI": '(module (func (export "_start") (unreachable)))',
}

UNKNOWN_IMPORT = '(module (import "nobody" "has_this" (func)) (func (export "_start")))'
UNKNOWN_WASI_FUNCTION = '(module (import "wasi_snapshot_preview1" "no_such" (func)) (func (export "_start")))'
NO_START = '(module (func (export "other")))'

COMPONENT = """(component
  (core module $m (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $e (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $e)))"""
"""A command of WASI 0.2 that returns `ok`."""


@functools.cache
def binary(source: str) -> bytes:
    """Assemble a module or component."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(source))


BAD = {
    "empty": b"",
    "noise": bytes(range(256)),
    "header only, cut": b"\0asm\1\0",
    "unknown version": b"\0asm\xff\0\0\0",
    "cut in the middle": binary(says("x"))[:-20],
    "invalid code": b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\7\n\1\6_start\0\0\n\5\1\3\0\x6a\x0b",
}
