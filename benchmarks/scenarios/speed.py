"""A module that only computes: in a container, and with the same engine without pelagos.

The guest measures its own time, so the start is not included.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.pod import Pod
from benchmarks.samples import Measured
from benchmarks.stage import Stage
from pelagos_core.plugin import program as program_of_engine
from scripts import engines

_SECONDS = re.compile(rb"([0-9.]+) seconds")
# The backend's package, so the version and the code generator are the same.
_LIBRARY = """
import sys, wasmtime
config = wasmtime.Config()
config.parallel_compilation = False
engine = wasmtime.Engine(config)
module = wasmtime.Module.from_file(engine, sys.argv[1])
store, linker, wasi = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
linker.define_wasi()
wasi.argv = ["work", sys.argv[2]]
wasi.inherit_stdout()
store.set_wasi(wasi)
linker.instantiate(store, module).exports(store)["_start"](store)
"""


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The seconds of the same work, alternately."""
    # An interpreter takes fifty times as long.
    portions = str(1 if contender.backend == "wasmedge" else stage.settings.work)
    program = programs.wasm("work", portions, says=b"seconds")
    module = str(program.module)
    pod = Pod(stage, contender, program)
    yield Measured("in a container", "work", "s", _in_container(pod))
    pod.shut_down()
    if not contender.backend:
        command = [sys.executable, "-c", _LIBRARY, module, portions]
        yield Measured("engine's library alone", "work", "s", _seconds(command))
    if command := _own_program(contender.backend, module, portions):
        yield Measured("engine's own program", "work", "s", _seconds(command))


def _own_program(backend: str, module: str, portions: str) -> list[str]:
    """The command that does the same with the engine's program; empty if it is not installed."""
    if backend == "wasmedge":
        found = program_of_engine.find(backend, {"root": str(engines.DIRECTORY / "wasmedge")})
        return [*found.command, module, portions]
    if backend == "wasmer":
        found = program_of_engine.find(backend, {"program": str(engines.DIRECTORY / "wasmer/bin/wasmer")})
        return [*found.command, "run", module, "--", portions]
    wasmtime = programs.wasmtime_program()
    return [str(wasmtime), "run", module, portions] if wasmtime.exists() else []


def _in_container(pod: Pod) -> float:
    task = pod.task()
    pod.client.run([task.life()])
    return _seconds_said(task.output)


def _seconds(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, check=False)
    return _seconds_said(done.stdout, done.stderr)


def _seconds_said(output: bytes, errors: bytes = b"") -> float:
    """The time that the guest has printed. Raises CallFailed if there is none."""
    match = _SECONDS.search(output)
    if not match:
        raise CallFailed(f"the work was not done: {output!r} {errors!r}")
    return float(match[1])
