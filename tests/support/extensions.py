"""Guests in text format that Wasmtime's library cannot run. Each exits with 5 if it runs correctly."""

from __future__ import annotations

SHARED_MEMORY = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1 1 shared)
  (func (export "_start")
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 5)))
    (call $exit (i32.atomic.load (i32.const 0)))))"""

# In this snapshot, `fd_seek` numbers its whence values differently: 0 is the current position.
UNSTABLE = """(module
  (import "wasi_unstable" "proc_exit" (func $exit (param i32)))
  (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\04\\00\\00\\00old\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
    (call $exit (i32.const 5))))"""

COMMAND_0_3 = """(component
  (type $environment (instance
    (type $words (list string))
    (export "get-arguments" (func (result $words)))))
  (import "wasi:cli/environment@0.3.0" (instance $environment (type $environment)))
  (core module $code (func (export "run") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $code))
  (type $run (func async (result (result))))
  (func $run (type $run) (canon lift (core func $instance "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $exported)))"""

TRAP = SHARED_MEMORY.replace("(drop", "(unreachable) (drop", 1)
