"""The program of a guest that calls functions of WASI 0.1 for a test.

It reads requests from stdin and writes answers to stdout. So a test is written in Python, but WebAssembly makes
each call, in a container, on the tested engine.
"""

from __future__ import annotations

import struct

from pelagos_core.conformance.wasi.names import PARAMETERS

REQUEST = struct.Struct("<4I10q")
"""A request: operation, address, size; then the arguments of a call."""

STORE, LOAD = 0xFFFF, 0xFFFE
"""Operations: store the bytes that follow in memory; answer with bytes of memory. A smaller number is a function."""

ARENA = 1 << 16
"""The first free address; the guest's own variables are below."""

_PAGES = 32


def source(names: frozenset[str] = frozenset(PARAMETERS)) -> str:
    """The guest in text format. names: the functions of WASI that it imports."""
    own = names | {"fd_read", "fd_write", "proc_exit"}
    imports = "\n".join(_import(name) for name in sorted(own))
    branches = "\n".join(_branch(number, name) for number, name in enumerate(PARAMETERS) if name in own)
    return f"""(module
  {imports}
  (memory (export "memory") {_PAGES})
  ;; Read `size` bytes of stdin; exit with 0 at its end.
  (func $take (param $at i32) (param $size i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $size)))
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $size))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 101))))
        (if (i32.eqz (i32.load (i32.const 8))) (then (call $proc_exit (i32.const 0))))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
        (br $more))))
  (func $put (param $at i32) (param $size i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $size)))
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $size))
        (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 100))))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
        (br $more))))
  ;; A request: 256 what, 260 where, 264 how much, 272 ten arguments of 64 bits. 248 is the answer.
  (func $main (export "_start")
    (loop $next
      (call $take (i32.const 256) (i32.const {REQUEST.size}))
      (if (i32.eq (i32.load (i32.const 256)) (i32.const {STORE}))
        (then (call $take (i32.load (i32.const 260)) (i32.load (i32.const 264))) (br $next)))
      (if (i32.eq (i32.load (i32.const 256)) (i32.const {LOAD}))
        (then (call $put (i32.load (i32.const 260)) (i32.load (i32.const 264))) (br $next)))
      {branches}
      (call $put (i32.const 248) (i32.const 4))
      (br $next))))"""


def _import(name: str) -> str:
    parameters = " ".join({"i": "i32", "I": "i64"}[letter] for letter in PARAMETERS[name])
    result = "" if name == "proc_exit" else "(result i32)"
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {parameters}) {result}))'


def _branch(number: int, name: str) -> str:
    words = [
        f"(i64.load (i32.const {272 + 8 * index}))" if letter == "I" else f"(i32.load (i32.const {272 + 8 * index}))"
        for index, letter in enumerate(PARAMETERS[name])
    ]
    call = f"(call ${name} {' '.join(words)})"
    answer = call if name == "proc_exit" else f"(i32.store (i32.const 248) {call})"
    return f"(if (i32.eq (i32.load (i32.const 256)) (i32.const {number})) (then {answer}))"
