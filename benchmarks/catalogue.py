"""All scenarios: their names, their contenders and their numbers of rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.contender import Contender
from benchmarks.samples import Measured
from benchmarks.scenarios import (
    commands,
    density,
    floor,
    isolation,
    modules,
    new_pods,
    reboot,
    serving,
    speed,
    throughput,
    timeline,
)
from benchmarks.stage import Stage


def _everybody(contender: Contender) -> bool:
    return True


def _runs_wasm(contender: Contender) -> bool:
    return not contender.native


def _has_command(contender: Contender) -> bool:
    return contender.command is not None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One function that measures.

    takes: returns whether a contender takes part.
    rounds: the largest useful number of rounds.
    engines: whether each engine of a contender is measured too.
    machine: whether it measures the machine, without a contender.
    """

    title: str
    measure: Callable[[Stage, Contender], Iterable[Measured]]
    takes: Callable[[Contender], bool] = _everybody
    rounds: int = 100
    engines: bool = False
    machine: bool = False


SCENARIOS = {
    "throughput": Scenario("Tasks through one shim", throughput.measure),
    "new-pods": Scenario("A new pod for each task, without containerd", new_pods.measure),
    "reboot": Scenario("All pods of a node at once", reboot.measure),
    "ctr": Scenario("Whole commands on containerd", commands.measure_ctr),
    "run": Scenario("Whole commands of pelagos", commands.measure_run, _has_command),
    "memory": Scenario("Memory, of all processes together", density.measure_memory, rounds=3),
    "scale": Scenario("Many containers at rest", density.measure_scale, rounds=1),
    "modules": Scenario("Modules of all sizes", modules.measure, _runs_wasm, rounds=2, engines=True),
    "speed": Scenario("A module that only computes", speed.measure, _has_command, engines=True),
    "serving": Scenario("A service under load", serving.measure, _runs_wasm),
    "timeline": Scenario("Where the time of a task goes", timeline.measure, _has_command, rounds=1),
    "isolation": Scenario("Isolation's share of a start", isolation.measure, machine=True),
    "floor": Scenario("The machine's own share", floor.measure, machine=True),
}
