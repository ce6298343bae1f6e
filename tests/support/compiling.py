"""Backends with a given `compile` hook, and compile requests for them."""

from __future__ import annotations

import os
import select
import types
from collections.abc import Callable
from pathlib import Path

from pelagos_core.backends.registry import Backend, Backends, Plugin
from pelagos_core.cache import compile_service
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.plugin.hookspecs import Description, hookimpl
from pelagos_core.plugin.limits import Limits

MODULE = b"\0asm\1\0\0\0"
GREEDY = """
import socket
from pelagos_core.plugin.hookspecs import Detection, hookimpl

@hookimpl
def pelagos_detect():
    return Detection.can(100, "anything")

@hookimpl
def pelagos_compile():
    socket.socket().close()
    return b"code"

@hookimpl
def pelagos_spawn():
    return lambda: 7
"""
"""The source text of a backend whose `compile` opens a socket."""


def backend(compile: Callable[..., object], name: str = "tiny") -> Backend:
    """A backend with this `compile`, which may take an `entrypoint`."""
    made = types.ModuleType(name)

    def pelagos_compile(entrypoint):  # type: ignore[no-untyped-def]
        return compile(entrypoint)

    made.pelagos_compile = hookimpl(pelagos_compile)  # type: ignore[attr-defined]
    made.pelagos_describe = hookimpl(_describe)  # type: ignore[attr-defined]
    made.pelagos_spawn = hookimpl(_spawn)  # type: ignore[attr-defined]
    return Backends.load([Plugin(name, "1", lambda: made)]).named(name)


def _describe() -> Description:
    return Description("Tiny", "1")


_describe.__name__ = "pelagos_describe"


def _spawn() -> Callable[[], int]:
    return lambda: 0


_spawn.__name__ = "pelagos_spawn"


def request(
    directory: Path,
    compile: Callable[..., object],
    module: bytes = MODULE,
    *,
    confined: bool = True,
    **settings: object,
) -> CompileRequest:
    """A request for a new module; its cache is in `directory`. The caller closes the request's file."""
    return job_of(backend(compile), directory, module, confined=confined, **settings)


def job_of(
    backend: Backend, directory: Path, module: bytes = MODULE, *, confined: bool = True, **settings: object
) -> CompileRequest:
    """A request for any backend; see `request`."""
    path = directory / "module.wasm"
    path.write_bytes(module)
    cache = CacheSettings(**{"directory": str(directory / "cache"), **settings})  # type: ignore[arg-type]
    return CompileRequest(backend, "/app.wasm", "", os.open(path, os.O_RDONLY), Limits(), cache, confined)


def obtain(request: CompileRequest) -> tuple[bytes, str]:
    """Get the code by a compile service, as the daemon does; return the code and how it was obtained.

    Raises the error that the service reports.
    """
    made = compile_service.fork(request, Cgroup(()))
    try:
        select.select([made.socket], [], [])
        directory, how = made.answer()
        with open("code", "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=directory)) as file:
            code = file.read()
        os.close(directory)
    finally:
        made.close()
        os.close(request.file)
    return code, how
