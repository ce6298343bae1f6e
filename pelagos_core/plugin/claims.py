"""What a backend may claim in its `Description`: features, limits, and areas of WASI in which its engine deviates."""

from __future__ import annotations

FEATURES = {
    "module": "core modules",
    "component": "components",
    "wat": "WebAssembly text",
    "wasi-0.1": "WASI 0.1, command",
    "wasi-0.2": "WASI 0.2, command",
    "wasi-0.3": "WASI 0.3, command",
    "wasi-unstable": "core modules of WASI's snapshot before 0.1 (wasi_unstable)",
    "function": "any exported function as entry point (path#function)",
    "function-values": "a function's arguments and results: path#function ARGUMENTS; results are printed on stdout",
    "argv0": "argv[0] is the one of the container's spec",
    "cwd": "the root is the first preopen, with the name `/`",
    "read-only": "files of a read-only mount or root can be read",
    "ahead-of-time": "a module is compiled once, and its code is cached",
    "http": "a component that handles HTTP requests is served (wasi:http)",
    "sockets": "a guest that has a network gets sockets",
    "shared-memory": "shared memory and atomic instructions",
    "threads": "shared memory, atomic instructions, and threads that a guest starts",
    "simd": "instructions on vectors of 128 bits",
    "relaxed-simd": "vector instructions whose results may differ between processors",
    "tail-call": "calls that replace their caller's frame (return_call)",
    "exceptions": "exceptions with try_table and throw_ref, as in WebAssembly 3.0",
    "gc": "structs, arrays and typed references, which the engine collects",
    "memory64": "memories with addresses of 64 bits",
    "multi-memory": "several memories in one module",
}
"""The features that a backend may claim, each with its meaning.

A claim holds for a container with default settings. The conformance kit tests each feature for which it has a test.
"""

LIMITS = {
    "memory": "linear memory: memory.grow fails at the limit",
    "live-memory": "linear memory, with the container's current limit at each growth (Entrypoint.allows_memory)",
    "fuel": "units of execution: the guest traps when they are used up",
    "request": "time for one HTTP request, if the guest is an HTTP handler",
}
"""The limits of `Limits` that a backend may claim to enforce."""

WASI_0_1_AREAS = {
    "all functions are there": "each can be imported",
    "arguments and variables": "args_*, environ_*",
    "clocks": "clock_*",
    "random bytes": "random_get",
    "waiting": "poll_oneoff, sched_yield",
    "sockets": "sock_*",
    "the end": "proc_exit, proc_raise",
    "descriptors": "fd_prestat_*, fd_fdstat_*, fd_renumber, fd_close",
    "reading and writing": "fd_read, fd_pread, fd_write, fd_pwrite, fd_seek, fd_tell, fd_sync, fd_datasync, fd_advise",
    "sizes and times": "fd_filestat_*, path_filestat_*, fd_allocate",
    "directories": "path_create_directory, path_remove_directory, path_unlink_file",
    "lists of directories": "fd_readdir",
    "paths": "path_open",
    "renaming": "path_rename",
    "symbolic links": "path_symlink, path_readlink, and links that are followed or not",
    "hard links": "path_link",
}
"""The areas of WASI 0.1 that the conformance kit tests, with their functions."""
