"""Many idle containers: memory, the latency of a further start, and processor time.

Memory is the proportional set size of all processes that the contender has started: shims,
containers, and processes for all pods, such as a zygote.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks import cgroups, processes, programs
from benchmarks.contender import Contender
from benchmarks.pod import Pod, Task
from benchmarks.samples import Measured
from benchmarks.scenarios.throughput import finished
from benchmarks.stage import Stage

_TRIED = 20  # containers whose latency is measured, in the first and in the last pod


def of(count: int) -> str:
    """The name of the case with `count` running containers in a pod."""
    return f"each container, of {count}"


def measure_memory(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The memory of a running container, with few and many in a pod; and of one more pod with one container."""
    settings = stage.settings
    _warm(stage, contender)
    first = _pod(stage, contender)
    # The first task is only created, like an idle pause container. Everything that all containers share, such as an
    # engine, is loaded by then.
    first.client.run([first.first.create()])
    first.client.run(task.end() for task in _begin(first, 1))
    rest = _pss(stage)
    yield Measured("a pod at rest", "memory (PSS)", "MiB", rest)
    yield Measured("a pod at rest", "processes", "", len(processes.others()))
    running: list[Task] = []
    all_of_it = rest
    for count in settings.idle_containers:
        running += _begin(first, count - len(running))
        all_of_it = _pss(stage)
        yield Measured(of(count), "memory (PSS)", "MiB", (all_of_it - rest) / count)
        yield Measured(
            of(count), "of its process alone", "MiB", processes.pss_mib({task.pid for task in running}) / count
        )
    charged = statistics.median(cgroups.charged_mib(task.pid) for task in running)
    yield Measured(of(len(running)), "charged to its own group", "MiB", charged)
    for _ in range(settings.idle_pods):
        _begin(_pod(stage, contender), 1)
    yield Measured("each further pod", "memory (PSS)", "MiB", (_pss(stage) - all_of_it) / settings.idle_pods)


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


def _warm(stage: Stage, contender: Contender) -> None:
    """Run the program once in a separate pod, so that it is compiled and its record is stored."""
    pod = _pod(stage, contender)
    pod.client.run([pod.first.begin()])
    pod.client.run([pod.first.end()])
    pod.shut_down()


def _begin(pod: Pod, count: int) -> list[Task]:
    tasks = [pod.task() for _ in range(count)]
    pod.client.run(task.begin() for task in tasks)
    return tasks


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
