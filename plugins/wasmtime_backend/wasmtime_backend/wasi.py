"""The WASI configuration of a guest: functions, args, env, streams, files."""

from __future__ import annotations

import wasmtime

from pelagos_core.plugin import wasi
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.linking import Imports
from wasmtime_backend import network

IMPORTS: Imports = {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS, **wasi.WASI_0_2_INTERFACES, **wasi.OUTGOING_HTTP_0_2}
"""The names that `Linker.define_wasi`, `component.Linker.add_wasip2` and `add_wasi_http` define.

The package lacks WASI's snapshot before 0.1; Wasmtime's program has it.
"""


def config(entrypoint: Entrypoint) -> wasmtime.WasiConfig:
    """The WASI configuration of one guest. Call it in the init process, after isolation."""
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(entrypoint.args)
    wasi.env = entrypoint.environment()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for name, path, _ in entrypoint.preopens():
        wasi.preopen_dir(path, name)
    if entrypoint.network:
        network.give(wasi)
    return wasi
