"""Many containers that do nothing: memory, the next one's latency, and the processor at rest.

Memory is the proportional set size of all processes that the contender has started: shims,
containers, and what serves all pods, such as a zygote.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks import processes, programs
from benchmarks.contender import Contender
from benchmarks.pod import Pod
from benchmarks.samples import Measured, slope
from benchmarks.scenarios.throughput import finished
from benchmarks.stage import Stage

_TRIED = 20  # containers whose latency is taken, at the first and at the last


def measure_memory(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """What one more container costs, and one more pod with one container."""
    settings = stage.settings
    first = _pod(stage, contender)
    _begin(first, 1)
    one = _pss(stage)
    yield Measured("1 pod, 1 container", "memory (PSS)", "MiB", one)
    yield Measured("1 pod, 1 container", "processes", "", len(processes.others()))
    _begin(first, settings.idle_containers - 1)
    more = _pss(stage)
    yield Measured("each further container", "memory (PSS)", "MiB", slope((1, one), (settings.idle_containers, more)))
    for _ in range(settings.idle_pods):
        _begin(_pod(stage, contender), 1)
    yield Measured("each further pod", "memory (PSS)", "MiB", (_pss(stage) - more) / settings.idle_pods)


def measure_scale(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """From 1 container to hundreds: the latency of a start, memory, and processor time at rest."""
    settings = stage.settings
    alone = _pod(stage, contender)
    yield from _starts(alone, "at the 1st")
    _begin(alone, settings.scale_containers // settings.scale_pods)
    pods = [alone]
    while len(pods) < settings.scale_pods:
        pods.append(_pod(stage, contender))
        _begin(pods[-1], settings.scale_containers // settings.scale_pods)
    yield from _starts(pods[-1], "at the last")
    yield Measured("all", "containers", "", settings.scale_containers)
    yield Measured("all", "memory (PSS)", "MiB", _pss(stage))
    pids = processes.others()
    before = processes.cpu_seconds(pids)
    time.sleep(settings.idle_seconds)
    used = processes.cpu_seconds(pids) - before
    yield Measured("all", "CPU at rest", "% of a core", 100 * used / settings.idle_seconds)


def _pod(stage: Stage, contender: Contender) -> Pod:
    return Pod(stage, contender, programs.sleeper(native=contender.native))


def _begin(pod: Pod, count: int) -> None:
    pod.client.run(pod.task().begin() for _ in range(count))


def _starts(pod: Pod, case: str) -> Iterator[Measured]:
    """Create and start a few containers here, one at a time, and remove them again."""
    seconds = []
    for task in [pod.task() for _ in range(_TRIED)]:
        pod.client.run([task.begin()])
        pod.client.run([task.end()])
        seconds.append(finished(task).total)
    yield Measured(case, "create and start p50", "ms", statistics.median(seconds) * 1e3)


def _pss(stage: Stage) -> float:
    time.sleep(stage.settings.settle_seconds)
    return processes.pss_mib(processes.others())
