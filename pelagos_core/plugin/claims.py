"""What a backend may say of itself in `Description`: features, limits, and areas in which its engine deviates."""

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
    "function-values": "its arguments after it, and what it returns on stdout (path#function ARGUMENTS)",
    "argv0": "argv[0] as the container's spec has it",
    "cwd": "the root as first preopen, under its own name",
    "read-only": "files of a read-only mount or root can be read",
    "ahead-of-time": "a module is compiled once, and its code kept",
    "http": "a component that handles HTTP requests is served (wasi:http)",
    "sockets": "a guest that has a network gets sockets",
    "shared-memory": "shared memory and atomic instructions",
    "threads": "shared memory, atomic instructions, and threads that a guest starts",
    "simd": "instructions on vectors of 128 bits",
    "relaxed-simd": "vector instructions whose results may differ between processors",
    "tail-call": "calls that take the place of their caller (return_call)",
    "exceptions": "exceptions with try_table and throw_ref, as in WebAssembly 3.0",
    "gc": "structs, arrays and typed references, which the engine collects",
    "memory64": "memories with addresses of 64 bits",
    "multi-memory": "several memories in one module",
}
"""What a backend may claim to run, with what it means.

It claims what holds for a container by default. The conformance kit tests what it has a test for.
"""

LIMITS = {
    "memory": "linear memory: memory.grow fails at the limit",
    "live-memory": "that limit is the container's as it is at each growth (Entrypoint.allows_memory)",
    "fuel": "units of execution: the guest traps when they are used up",
    "request": "time for one HTTP request, of a guest that handles them",
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
"""The areas of WASI 0.1 that the conformance kit tries, with their functions."""
