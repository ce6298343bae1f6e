"""The floor: the time that the kernel needs for a container, without any shim."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.samples import Measured
from benchmarks.stage import Stage


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Time the steps of a container in a small C program. `contender` is the machine itself."""
    rootfs = programs.hello(native=True).rootfs
    command = [str(contender.shim), str(stage.settings.tasks), str(rootfs), f"{stage.name}-floor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CallFailed(done.stderr.strip())
    for line in done.stdout.splitlines():
        step, microseconds = line.split("\t")
        yield Measured(f"C: {step}", "time p50", "ms", float(microseconds) / 1e3)
