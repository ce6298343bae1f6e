"""A backend for wazero, an engine that does not check `..` and lets the kernel follow links."""

from __future__ import annotations

import functools

from pelagos_core.conformance.environment import environment_with
from tests.support import leftovers, provision
from tests.support.forms import Form

BACKEND = '''"""wazero, by a small program of the tests: core modules (WASI 0.1)."""

from pelagos_core.plugin import program, wasi
from pelagos_core.plugin.program_backend import ProgramBackend


class Wazero(ProgramBackend):
    name = "wazero"
    engine = "wazero"
    remedy = "python -m tests.support.provision"
    imports = {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS}

    def arguments(self, entrypoint):
        words = []
        for name, path, readonly in entrypoint.preopens(program.GUEST_ROOT):
            words += ["-ro" if readonly else "-rw", f"{name}={path}"]
        for variable in entrypoint.env:
            words += ["-env", variable]
        return [*words, entrypoint.file_path, *entrypoint.args[1:]]


_backend = Wazero()
pelagos_configure = _backend.pelagos_configure
pelagos_describe = _backend.pelagos_describe
pelagos_detect = _backend.pelagos_detect
pelagos_spawn = _backend.pelagos_spawn
pelagos_signal = _backend.pelagos_signal
'''


@functools.cache
def form() -> Form:
    """wazero, for `pelagos run`."""
    python = environment_with(leftovers.lasting_directory() / "venv", wazero=BACKEND)
    return Form("wazero", python, f'[backends.wazero]\nprogram = "{provision.wazero()}"\n')
