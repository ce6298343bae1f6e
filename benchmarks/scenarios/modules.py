"""Modules of all sizes, on each engine: the first container ever, the first after a restart, later ones."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import processes, programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.pod import Pod
from benchmarks.programs import Program
from benchmarks.samples import Measured
from benchmarks.scenarios.throughput import finished
from benchmarks.stage import Stage

# The directory of compiled code; private in the sandbox.
_CACHES = Path("/var/cache")
_MOST_SECONDS = 30.0  # for later starts of one program
# Engines without ahead-of-time code take minutes for the large one.
_SMALL = ("hello, 0.1 kB", "C hello")


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Every program: without cached code, with cached code on a cold node, warm; and the shim's own memory."""
    for name, make in programs.GUESTS.items():
        if contender.backend and name not in _SMALL:
            continue
        if make().rootfs.exists():
            yield from _measure_one(stage, contender, name, make())


def _measure_one(stage: Stage, contender: Contender, name: str, program: Program) -> Iterator[Measured]:
    forget()
    processes.end_others()
    pod = Pod(stage, contender, program)
    yield Measured(f"{name}, first ever", "pod and task", "ms", (pod.start_seconds + _life(pod)) * 1e3)
    pod.leave()
    processes.end_others()
    pod = Pod(stage, contender, program)
    yield Measured(f"{name}, cold node", "pod and task", "ms", (pod.start_seconds + _life(pod)) * 1e3)
    yield Measured(f"{name}, warm", "task p50", "ms", statistics.median(_lives(pod)) * 1e3)
    yield Measured(f"{name}, warm", "the shim's memory (PSS)", "MiB", processes.pss_mib({_shim_of(pod)}))
    pod.shut_down()


def forget() -> None:
    """Empty the caches."""
    for path in _CACHES.iterdir():
        shutil.rmtree(path)


def _life(pod: Pod) -> float:
    task = pod.task()
    pod.client.run([task.life()])
    return finished(task).total


def _lives(pod: Pod) -> list[float]:
    """The seconds of a few tasks, fewer if each is long."""
    deadline = time.monotonic() + _MOST_SECONDS
    seconds = [_life(pod)]
    while len(seconds) < pod.stage.settings.starts and time.monotonic() < deadline:
        seconds.append(_life(pod))
    return seconds


def _shim_of(pod: Pod) -> int:
    """The pid of the pod's daemon: the parent of a container."""
    task = pod.task(programs.sleeper(native=pod.contender.native))
    pod.client.run([task.begin()])
    with open(f"/proc/{task.pid}/status") as file:
        (parent,) = [int(line.split()[1]) for line in file if line.startswith("PPid:")]
    pod.client.run([task.end()])
    if parent not in processes.others():
        raise CallFailed(f"the container's parent is process {parent}, which is no shim")
    return parent
