"""What a guest sees through WASI: args, env, streams, files."""

from __future__ import annotations

import wasmtime

from pelagos_core.entrypoint import Entrypoint


def config(entrypoint: Entrypoint) -> wasmtime.WasiConfig:
    """The WASI configuration of one process, in the init process after the change of root.

    `/` is the container's root by then. WASI 0.1 has no working directory: it is preopened
    as `.`, which libraries that keep track of one (Go's, for one) start in.
    """
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(entrypoint.args)
    wasi.env = entrypoint.environment()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    if entrypoint.cwd != "/":
        wasi.preopen_dir(entrypoint.cwd, ".")
    wasi.preopen_dir("/", "/")
    return wasi
