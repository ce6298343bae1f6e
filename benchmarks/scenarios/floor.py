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


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Steps of a container in C, and a bare interpreter; `contender` is the machine itself."""
    rootfs = programs.hello(native=True).rootfs
    command = [str(contender.shim), str(stage.settings.tasks), str(rootfs), stage.name + "-floor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CallFailed(done.stderr.strip())
    for line in done.stdout.splitlines():
        step, microseconds = line.split("\t")
        yield Measured(f"C: {step}", "time p50", "ms", float(microseconds) / 1e3)
    for flags in ("-IS", "-I"):
        words = [sys.executable, flags, "-c", "pass"]
        seconds = [_timed(words) for _ in range(stage.settings.commands)]
        yield Measured(f"python {flags} -c pass", "time p50", "ms", statistics.median(seconds) * 1e3)


def _timed(words: list[str]) -> float:
    before = time.perf_counter()
    subprocess.run(words, check=True)
    return time.perf_counter() - before
