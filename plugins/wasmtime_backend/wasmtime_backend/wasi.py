"""What a guest sees through WASI: args, env, streams, files."""

from __future__ import annotations

import wasmtime

from pelagos_core.entrypoint import Entrypoint


def config(entrypoint: Entrypoint) -> wasmtime.WasiConfig:
    """The WASI configuration of one process, in the init process after the change of root."""
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(entrypoint.args)
    wasi.env = entrypoint.environment()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for name, path, readonly in entrypoint.preopens():
        wasi.preopen_dir(path, name, fs_mutable=not readonly)
    return wasi
