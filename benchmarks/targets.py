"""The performance targets of pelagos, mostly ratios within one run, so that they depend little on the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import Report
from benchmarks.scenarios import density, new_pods
from benchmarks.stage import FULL

Value = Callable[[Report], "float | None"]
OURS, RUNC, MACHINE = "pelagos", "runc", "this machine"
_IMMORTAL = (3, 12)  # CPython


@dataclass(frozen=True, slots=True)
class Target:
    """One target: a value must be at least, or at most, a limit."""

    text: str
    value: Value
    limit: float
    at_least: bool = False
    unit: str = "x"

    def reached(self, report: Report) -> bool | None:
        """Whether the target is reached; None if it was not measured."""
        value = self.value(report)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def figure(scenario: str, case: str, metric: str, contender: str = OURS) -> Value:
    """The value of one figure."""
    return lambda report: report.value(scenario, case, contender, metric)


def ratio(above: Value, below: Value) -> Value:
    """One value divided by another; None if either is missing."""

    def value(report: Report) -> float | None:
        a, b = above(report), below(report)
        return a / b if a is not None and b else None

    return value


def _against_runc(scenario: str, case: str, metric: str) -> Value:
    return ratio(figure(scenario, case, metric), figure(scenario, case, metric, RUNC))


def _tail(at_a_time: int) -> Target:
    case = f"{at_a_time} at a time"
    value = ratio(figure("throughput", case, "task p99"), figure("throughput", case, "task p50"))
    return Target(f"p99 against the median, {case}", value, 2)


def _against_nothing(case: str, command: str, limit: float) -> Target:
    """A command of the shim, compared with an interpreter that does nothing."""
    value = ratio(figure("new-pods", case, f"{command} p50"), figure("new-pods", new_pods.INTERPRETER, "command p50"))
    return Target(f"{command}{f', {case}' if case else ''}, against {new_pods.INTERPRETER}", value, limit)


def _on_python(value: Value, *, immortal: bool) -> Value:
    """A value that applies only to interpreters with, or without, immortal objects (PEP 683).

    Without them, each access to an object writes its reference count, which copies the page in a forked process.
    """

    def only(report: Report) -> float | None:
        version = tuple(map(int, str(report.made.get("python", "")).split(".")[:2]))
        return value(report) if (version >= _IMMORTAL) == immortal else None

    return only


def _of_full_scale(value: Value) -> Value:
    """A value that is meaningful only with the number of containers of a full run."""

    def only(report: Report) -> float | None:
        whole = report.value("scale", "all", OURS, "containers") == FULL.scale_containers
        return value(report) if whole else None

    return only


def _computing(contender: str) -> Target:
    value = ratio(
        figure("speed", "in a container", "work", contender), figure("speed", "engine's own program", "work", contender)
    )
    return Target(f"computing, {contender}, against the engine's own program", value, 1.02)


def _warm(name: str, contender: str = OURS) -> Value:
    return figure("modules", f"{name}, warm", "task p50", contender)


_HELLO, _GO, _YOSYS = "hello, 0.1 kB", "gofmt (Go), 5 MB", "yosys (C++), 69 MB"
_SHIM = "the shim's memory (PSS)"

TARGETS = [
    Target("tasks/s against runc, 1 at a time", _against_runc("throughput", "1 at a time", "rate"), 6, True),
    Target("tasks/s against runc, 4 at a time", _against_runc("throughput", "4 at a time", "rate"), 8, True),
    Target("CPU per task against runc's", _against_runc("throughput", "1 at a time", "CPU per task"), 0.16),
    _tail(1),
    _tail(4),
    Target("ctr run --rm against runc", _against_runc("ctr", "ctr run --rm", "command p50"), 0.6),
    _against_nothing("", new_pods.START, 0.7),
    _against_nothing("", new_pods.DELETE, 0.35),
    _against_nothing(new_pods.PLAIN, new_pods.START, 0.7),
    _against_nothing(new_pods.PLAIN, new_pods.DELETE, 0.35),
    Target(
        "first container on a cold node, module cached",
        figure("modules", f"{_HELLO}, cold node", "pod and task"),
        1000,
        unit="ms",
    ),
    Target("WasmEdge's hello against Wasmtime's", ratio(_warm(_HELLO, f"{OURS}, wasmedge"), _warm(_HELLO)), 2),
    Target("a 5 MB module's later starts against hello's", ratio(_warm(_GO), _warm(_HELLO)), 1.5),
    Target("a 69 MB module's later starts", _warm(_YOSYS), 150, unit="ms"),
    Target(
        "the shim's memory after 69 MB against hello's",
        ratio(figure("modules", f"{_YOSYS}, warm", _SHIM), figure("modules", f"{_HELLO}, warm", _SHIM)),
        1.1,
    ),
    *(
        Target(
            f"PSS of each running container, of {count}",
            figure("memory", density.of(count), "memory (PSS)"),
            limit,
            unit="MiB",
        )
        for count, limit in zip(FULL.idle_containers, (0.6, 0.4), strict=True)
    ),
    Target(
        "charged to a container's own memory group",
        figure("memory", density.of(FULL.idle_containers[-1]), "charged to its own group"),
        0.8,
        unit="MiB",
    ),
    *(
        Target(
            f"PSS of each further pod with one container, CPython {name}",
            _on_python(figure("memory", "each further pod", "memory (PSS)"), immortal=immortal),
            limit,
            unit="MiB",
        )
        for name, immortal, limit in (("up to 3.11", False, 11), ("from 3.12 on", True, 6))
    ),
    Target(
        "500 containers in 50 pods, CPython from 3.12 on",
        _on_python(_of_full_scale(figure("scale", "all", "memory (PSS)")), immortal=True),
        0.6 * 1024,
        unit="MiB",
    ),
    Target(
        "a start at the last container against the 1st",
        ratio(
            figure("scale", "at the last", "create and start p50"),
            figure("scale", "at the 1st", "create and start p50"),
        ),
        1.2,
    ),
    Target("CPU at rest, all containers", figure("scale", "all", "CPU at rest"), 1, unit="% of a core"),
    Target(
        "isolation's processor time",
        figure("isolation", "all", "processor time p50", MACHINE),
        2,
        unit="ms",
    ),
    Target("pelagos run hello.wasm", figure("run", "pelagos run hello.wasm", "command p50"), 120, unit="ms"),
    Target(
        "computing, against the engine's library alone",
        ratio(figure("speed", "in a container", "work"), figure("speed", "engine's library alone", "work")),
        1.02,
    ),
    Target(
        "requests/s of a service, against the engine's program alone",
        ratio(figure("serving", "in a container", "rate"), figure("serving", "engine's program alone", "rate")),
        0.97,
        True,
    ),
    Target(
        "from Start of a service to its first answer",
        figure("serving", "in a container", "cold answer"),
        100,
        unit="ms",
    ),
    *(_computing(contender) for contender in (OURS, f"{OURS}, wasmedge", f"{OURS}, wasmer")),
]
