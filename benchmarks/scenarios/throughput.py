"""Tasks through one shim: create, start, wait, delete, with all events and full isolation."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.cgroups import ProcessorTime
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.pod import EVENTS_OF_A_TASK, Phases, Pod, Task
from benchmarks.samples import Measured, latencies
from benchmarks.stage import Stage

AT_A_TIME = (1, 4)
_LAST_SECONDS = 0.3  # work that a shim does after the last answer belongs to the tasks too


def case(at_a_time: int) -> str:
    """The name of the case with `at_a_time` concurrent tasks."""
    return f"{at_a_time} at a time"


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Rate, latency, and processor time of all processes and of the client, for each number of tasks at a time."""
    used = ProcessorTime(stage.name)
    pod = Pod(stage, contender, programs.hello(native=contender.native), group=used.members)
    # One task is created and not started, like a pod's pause container.
    pod.client.run([pod.first.create()])
    pod.client.run([pod.task().life()])
    for at_a_time in AT_A_TIME:
        yield from _rate(pod, at_a_time, used)
    pod.client.run([pod.first.end()])
    pod.shut_down()


def _rate(pod: Pod, at_a_time: int, used: ProcessorTime) -> Iterator[Measured]:
    tasks = [pod.task() for _ in range(pod.stage.settings.tasks)]
    events = pod.stage.events.count
    time.sleep(_LAST_SECONDS)
    all_of_it = used.seconds()
    client, before = time.process_time(), time.perf_counter()
    pod.client.run((task.life() for task in tasks), at_a_time)
    elapsed, client = time.perf_counter() - before, time.process_time() - client
    pod.stage.events.until(events + EVENTS_OF_A_TASK * len(tasks))
    time.sleep(_LAST_SECONDS)
    all_of_it = used.seconds() - all_of_it
    name = case(at_a_time)
    yield Measured(name, "rate", "tasks/s", len(tasks) / elapsed)
    phases = [finished(task) for task in tasks]
    yield from latencies(name, "task", [phase.total for phase in phases])
    for phase in Phases._fields:
        yield from latencies(name, phase, [getattr(each, phase) for each in phases])
    yield Measured(name, "CPU per task", "ms", all_of_it / len(tasks) * 1e3)
    yield Measured(name, "the client's own CPU", "% of a core", 100 * client / elapsed)


def finished(task: Task) -> Phases:
    """The phases of a task that has ended. Raises CallFailed if it did not run."""
    if task.phases is None:
        raise CallFailed(f"task {task.id!r} did not run")
    return task.phases
