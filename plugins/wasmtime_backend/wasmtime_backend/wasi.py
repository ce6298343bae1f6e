"""What a guest sees through WASI: args, env, streams, files."""

from __future__ import annotations

import wasmtime

from pelagos_core.entrypoint import Entrypoint


def config(entrypoint: Entrypoint) -> wasmtime.WasiConfig:
    """The WASI configuration of one process, in the init process after the change of root.

    `/` is the container's root by then. WASI has no working directory: it is the first
    preopened one, where Go's library starts. wasi-libc (C, Rust) starts in `/` whatever is
    preopened, and a preopen `.` would catch its absolute paths too: so there is none.
    """
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(entrypoint.args)
    wasi.env = entrypoint.environment()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    if entrypoint.cwd != "/":
        wasi.preopen_dir(entrypoint.cwd, entrypoint.cwd)
    wasi.preopen_dir("/", "/")
    return wasi
