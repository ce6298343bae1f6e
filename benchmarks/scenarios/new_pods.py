"""A new pod for each task, without containerd: the shim's own share of `ctr run --rm`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import programs
from benchmarks.contender import Contender
from benchmarks.pod import Phases, Pod
from benchmarks.samples import Measured, latencies
from benchmarks.scenarios.throughput import finished
from benchmarks.stage import Stage

PHASES = ("start command", *Phases._fields, "delete command")


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Each phase's latency, the two commands included, on a warm node."""
    _once(stage, contender)
    runs = [_once(stage, contender) for _ in range(stage.settings.pods)]
    for number, phase in enumerate(PHASES):
        yield from latencies("", phase, [run[number] for run in runs])
    yield from latencies("", "all phases", [sum(run) for run in runs])


def _once(stage: Stage, contender: Contender) -> tuple[float, ...]:
    pod = Pod(stage, contender, programs.hello(native=contender.native))
    pod.client.run([pod.first.life()])
    pod.shut_down()
    return (pod.start_seconds, *finished(pod.first), pod.delete_command(pod.first))
