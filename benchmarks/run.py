"""One run of the benchmark: all scenarios, in rounds. Contenders alternate, so that the machine's load affects all."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import containerd, engine_config, machine, sandbox
from benchmarks.catalogue import SCENARIOS, Scenario
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.programs import floor_program
from benchmarks.report import Report
from benchmarks.samples import Figures, Measured
from benchmarks.stage import Settings, Stage
from benchmarks.targets import MACHINE
from pelagos_core.cli import launcher
from scripts import engines
from tests.support import provision

# The engines of `make engines`, in addition to Wasmtime, which `auto` chooses.
_ENGINES = ("wasmedge", "wasmer")
_MACHINE = Contender(MACHINE, Path())


class Run:
    """The state of a run: its directory, its settings and the figures so far."""

    def __init__(self, directory: Path, settings: Settings, say: Callable[[str], None]) -> None:
        """Arguments: directory: empty, with a short path and a unique name.

        say: called with messages about progress and failures.
        """
        self.failures: list[str] = []
        self._directory = directory
        self._settings = settings
        self._say = say
        self._figures = Figures()
        self._numbers = itertools.count(1)
        os.environ["PATH"] = containerd.path()
        self._config = directory / "engines.toml"
        self._config.write_text(engine_config.text(has_wasmedge=engine_config.has_wasmedge()))

    def contenders(self, others: Sequence[Contender]) -> list[Contender]:
        """The shim of this tree, runc's, and the given others."""
        shim = self._directory / launcher.NAMES[0]
        shim.write_bytes(launcher.program())
        shim.chmod(0o755)
        ours = Contender("pelagos", shim, command=Path(sys.executable).parent / "pelagos")
        runc = Contender("runc", provision.containerd_directory() / "usr/bin/containerd-shim-runc-v2", native=True)
        return [ours, runc, *others]

    def measure(self, names: Sequence[str], contenders: Sequence[Contender]) -> Report:
        """Measure these scenarios. A failure is reported and added to `failures`; its figures are left out."""
        made: dict[str, object] = {**machine.describe(), "load_before": os.getloadavg()}
        for name in names:
            self._scenario(name, SCENARIOS[name], contenders)
        made |= {"load_after": os.getloadavg(), "settings": _as_dict(self._settings), "failures": self.failures}
        return Report(made, self._figures.all())

    def _scenario(self, name: str, scenario: Scenario, contenders: Sequence[Contender]) -> None:
        taking_part = self._taking_part(scenario, contenders)
        rounds = min(self._settings.rounds, scenario.rounds)
        for number in range(rounds):
            for contender in list(taking_part):
                self._say(f"{name}, round {number + 1} of {rounds}: {contender.name}")
                if error := self._once(name, scenario, contender):
                    self.failures.append(f"{name}: {contender.name}: {error}")
                    self._say(self.failures[-1])
                    taking_part.remove(contender)

    def _taking_part(self, scenario: Scenario, contenders: Sequence[Contender]) -> list[Contender]:
        if scenario.machine:
            return [replace(_MACHINE, shim=floor_program())]
        chosen = [contender for contender in contenders if scenario.takes(contender)]
        if scenario.engines and engines.present():
            ours = [contender for contender in contenders if contender.command]
            chosen += [each.with_backend(name, self._config) for each in ours for name in _ENGINES]
        return chosen

    def _once(self, name: str, scenario: Scenario, contender: Contender) -> str:
        """Measure one round of one contender; return the error, or an empty text. Figures before the error are kept."""
        directory = self._directory / str(next(self._numbers))
        cgroup = f"{self._directory.name}-{directory.name}"

        def measure() -> tuple[list[Measured], str]:
            found: list[Measured] = []
            with Stage(directory, cgroup, self._settings) as stage:
                try:
                    for measured in scenario.measure(stage, contender):
                        found.append(measured)
                except (CallFailed, OSError, ValueError) as error:
                    return found, str(error) or repr(error)
            return found, ""

        found, error = sandbox.inside(measure, directory, cgroup)
        for measured in found:
            self._figures.add(name, contender.name, measured)
        return error


def _as_dict(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in Settings.__slots__}
