"""A new pod for each task, without containerd: the shim's own share of `ctr run --rm`.

An interpreter that does nothing is measured alternately with the two commands, to separate their cost from the
machine's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.contender import Contender
from benchmarks.pod import Phases, Pod
from benchmarks.samples import Measured, latencies
from benchmarks.scenarios.throughput import finished
from benchmarks.stage import Stage

START, DELETE = "start command", "delete command"
PHASES = (START, *Phases._fields, DELETE)
PLAIN = "without annotations"
INTERPRETER = "python -IS -c pass"


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Each phase's latency, the two commands included, on a warm node; and the commands without annotations."""
    annotated, plain, interpreter = [], [], []
    for _ in range(stage.settings.pods + 1):
        annotated.append(_once(stage, contender, annotated=True))
        plain.append(_once(stage, contender, annotated=False))
        interpreter.append(_nothing())
    del annotated[0], plain[0], interpreter[0]
    for number, phase in enumerate(PHASES):
        yield from latencies("", phase, [run[number] for run in annotated])
    yield from latencies("", "all phases", [sum(run) for run in annotated])
    for phase in (START, DELETE):
        yield from latencies(PLAIN, phase, [run[PHASES.index(phase)] for run in plain])
    yield from latencies(INTERPRETER, "command", interpreter)


def _once(stage: Stage, contender: Contender, *, annotated: bool) -> tuple[float, ...]:
    pod = Pod(stage, contender, programs.hello(native=contender.native), annotated=annotated)
    pod.client.run([pod.first.life()])
    pod.shut_down()
    return (pod.start_seconds, *finished(pod.first), pod.delete_command(pod.first))


def _nothing() -> float:
    """The seconds of a command in Python that does nothing."""
    before = time.perf_counter()
    subprocess.run([sys.executable, "-IS", "-c", "pass"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.perf_counter() - before
