"""The floor: what this kernel and this interpreter take before any shim does something."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.samples import Measured
from benchmarks.stage import Stage

# Forks as a shim's daemon would, bare and with all that it has loaded; prints like `floor.c`.
_PYTHON = """
import gc, os, signal, statistics, sys, time

def forks(what, child):
    times = []
    for _ in range(int(sys.argv[1])):
        before = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            try:
                child()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        times.append(time.perf_counter() - before)
    print(what, statistics.median(times) * 1e6, sep="\\t")

def memory(what, child):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    with open(f"/proc/{pid}/smaps_rollup") as file:
        own = sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(what, own / 1024, "MiB", sep="\\t")

forks("bare: fork, wait", lambda: None)
import asyncio, wasmtime, pelagos_core.task.service
config = wasmtime.Config()
config.parallel_compilation = False
engine = wasmtime.Engine(config)
code = wasmtime.Module.from_file(engine, sys.argv[2]).serialize()

def hello():
    module = wasmtime.Module.deserialize(engine, code)
    store, linker, wasi = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
    linker.define_wasi()
    store.set_wasi(wasi)
    linker.instantiate(store, module).exports(store)["_start"](store)

gc.collect()
gc.freeze()
forks("all loaded: fork, wait", lambda: None)
forks("all loaded: fork, hello from compiled code, wait", hello)
memory("all loaded: fork", lambda: None)
memory("all loaded: fork, hello from compiled code", hello)
"""


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Steps of a container in C, and a bare interpreter; `contender` is the machine itself."""
    count, rootfs = str(stage.settings.tasks), programs.hello(native=True).rootfs
    yield from _steps("C", [str(contender.shim), count, str(rootfs), f"{stage.name}-floor"])
    module = programs.hello(native=False).module
    yield from _steps("Python", [sys.executable, "-c", _PYTHON, count, str(module)])
    for flags in ("-IS", "-I"):
        words = [sys.executable, flags, "-c", "pass"]
        seconds = [_timed(words) for _ in range(stage.settings.commands)]
        yield Measured(f"python {flags} -c pass", "time p50", "ms", statistics.median(seconds) * 1e3)


def _steps(language: str, command: list[str]) -> Iterator[Measured]:
    """The lines of a program that prints steps and their microseconds, or their own memory."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CallFailed(done.stderr.strip())
    for line in done.stdout.splitlines():
        step, value, *unit = line.split("\t")
        if unit:
            yield Measured(f"{language}: {step}", "own memory", unit[0], float(value))
        else:
            yield Measured(f"{language}: {step}", "time p50", "ms", float(value) / 1e3)


def _timed(words: list[str]) -> float:
    before = time.perf_counter()
    subprocess.run(words, check=True)
    return time.perf_counter() - before
