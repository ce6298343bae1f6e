"""Runs mixed containers on a real containerd and kills processes at random, for a given time.

    python -m tests.support.soak SECONDS [SEED]

In each round, some containers start, a process is killed, and then the exit code and the output of each container
are checked. One pod runs through all rounds, and the memory of its daemon is measured.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pelagos_core.shim import zygote_request
from tests.support import provision
from tests.support.containerd import Containerd, install, until
from tests.support.traces import alive, descriptors, parent, processes, traces, waiting
from tests.support.zygote import end_zygotes, zygotes

WASM = "io.containerd.pelagos.wasm.v1"
LINES = "".join(f"{number:063d}\n" for number in range(5000))
# For each kind: the guest's argv, its exit code and its output. `spin` ends at a signal.
KINDS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "hello": (("/hello.wasm",), 0, "hello\n"),
    "exit": (("/tool.wasm", "exit", "42"), 42, ""),
    "out": (("/tool.wasm", "out", "5000"), 0, LINES),
    "trap": (("/trap.wasm",), 134, ""),
    "spin": (("/spin.wasm",), 143, ""),
    "spin too": (("/spin.wasm",), 143, ""),
}
POD = "soak-pod"


@dataclass
class Report:
    """The actions of a run, and the violations of its invariants."""

    done: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def violations(self) -> list[str]:
        """The violations of invariants; empty if there are none."""
        found = [*(f"left: {line}" for line in self.left), *(f"lost: {line}" for line in self.lost)]
        # The first rounds fill caches; after them, nothing may grow.
        early, late = self.memory[len(self.memory) // 3 :][:3], self.memory[-3:]
        if early and min(late) > max(early) * 1.1:
            found.append(f"memory: {max(early)} KiB, then {min(late)} KiB")
        if self.descriptors and self.descriptors[-1] > self.descriptors[0] + 2:
            found.append(f"descriptors: {self.descriptors[0]}, then {self.descriptors[-1]}")
        return found

    def table(self) -> str:
        """The report as a table."""
        flat = f"{self.memory[0]} KiB, {self.memory[-1]} KiB" if self.memory else "not measured"
        rows = [
            *((f"{what}", str(count)) for what, count in sorted(self.done.items())),
            ("nothing left", f"violated {len(self.left)} times" if self.left else "holds"),
            ("nothing lost", f"violated {len(self.lost)} times" if self.lost else "holds"),
            ("memory of the long-lived daemon, first and last", flat),
            ("its descriptors", f"{self.descriptors[0]}, {self.descriptors[-1]}" if self.descriptors else "-"),
        ]
        return "\n".join(f"{name:<50} {value}" for name, value in rows)


@dataclass
class Guest:
    """One container of a round."""

    name: str
    kind: str
    log: Path
    in_pod: bool
    started: bool = False
    killed: bool = False  # whether the soak has killed it or its shim
    pid: int = 0


class Soak:
    """One containerd and its rounds."""

    def __init__(self, directory: Path, seed: int, release: str = "trixie") -> None:
        self.report = Report()
        self._rng = random.Random(seed)
        self._directory = directory
        self._images = directory / "image"
        self._images.mkdir()
        for program in provision.guests_directory().glob("*.wasm"):
            os.link(program, self._images / program.name)
        bin_dir = directory / "bin"
        bin_dir.mkdir()
        self._zygotes = directory / "zygotes"
        self._containerd = Containerd(install(bin_dir), {zygote_request.VARIABLE: str(self._zygotes)}, release)

    def run(self, seconds: float) -> Report:
        """Run rounds for this time, then end everything."""
        end = time.monotonic() + seconds
        try:
            self._start_pod()
            number = 0
            while time.monotonic() < end or number < 3:
                self._round(number)
                number += 1
            self._containerd.remove(POD)
            self._settle("")
        finally:
            self._containerd.close()
            end_zygotes(str(self._zygotes))
        return self.report

    def _start_pod(self) -> None:
        done = self._containerd.run(WASM, self._images, POD, "/spin.wasm", flags=("-d", *_group(POD)))
        assert done.returncode == 0, done.stderr
        self._daemon = parent(self._containerd.tasks()[POD][0])

    def _round(self, number: int) -> None:
        guests = [self._guest(number, index) for index in range(self._rng.randint(3, 8))]
        running = [(guest, self._start(guest)) for guest in guests]
        what = self._rng.choice(tuple(self._chaos()))
        if self._rng.random() < 0.5:
            time.sleep(self._rng.random() * 0.3)  # a different moment in each round
            self._do(what, guests)
            self._collect_starts(running)
        else:
            self._collect_starts(running)
            self._do(what, guests)
        for guest in guests:
            self._end(guest)
        self.report.done["containers"] += len(guests)
        self.report.done["rounds"] += 1
        self._settle(POD)
        with open(f"/proc/{self._daemon}/status") as file:
            self.report.memory += [int(line.split()[1]) for line in file if line.startswith("VmRSS")]
        self.report.descriptors.append(descriptors(self._daemon))

    def _guest(self, number: int, index: int) -> Guest:
        kind, name = self._rng.choice(tuple(KINDS)), f"soak-{number}-{index}"
        return Guest(name, kind, self._directory / f"{name}.log", in_pod=self._rng.random() < 0.5)

    def _start(self, guest: Guest) -> subprocess.Popen[bytes]:
        flags = ("-d", "--log-uri", f"file://{guest.log}", *(_group(POD) if guest.in_pod else ()))
        return self._containerd.popen(WASM, self._images, guest.name, *KINDS[guest.kind][0], flags=flags)

    def _collect_starts(self, running: list[tuple[Guest, subprocess.Popen[bytes]]]) -> None:
        for guest, process in running:
            process.communicate(timeout=60)
            guest.started = process.returncode == 0
        for guest in [guest for guest, _ in running]:
            guest.pid = self._containerd.tasks().get(guest.name, (0, ""))[0]

    def _chaos(self) -> dict[str, Callable[[list[Guest]], None]]:
        return {
            "nothing": lambda guests: None,
            "containerd killed": lambda guests: self._containerd.restart(signal.SIGKILL),
            "containerd ended": lambda guests: self._containerd.restart(signal.SIGTERM),
            "shim killed": self._kill_shim,
            "shim stopped": self._stop_shim,
            "guest killed": self._kill_guest,
            "zygote killed": lambda guests: _kill_all(zygotes(str(self._zygotes))),
            "nursery killed": lambda guests: _kill_all(waiting(self._daemon)),
        }

    def _do(self, what: str, guests: list[Guest]) -> None:
        self.report.done[what] += 1
        self._chaos()[what](guests)

    def _victim(self, guests: list[Guest], *, in_pod: bool) -> Guest | None:
        there = [guest for guest in guests if guest.pid and alive(guest.pid) and guest.in_pod <= in_pod]
        return self._rng.choice(there) if there else None

    def _kill_shim(self, guests: list[Guest]) -> None:
        if victim := self._victim(guests, in_pod=False):
            victim.killed = True
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(parent(victim.pid), signal.SIGKILL)

    def _stop_shim(self, guests: list[Guest]) -> None:
        if victim := self._victim(guests, in_pod=False):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                shim = parent(victim.pid)
                os.kill(shim, signal.SIGSTOP)
                time.sleep(0.3)
                os.kill(shim, signal.SIGCONT)

    def _kill_guest(self, guests: list[Guest]) -> None:
        if victim := self._victim(guests, in_pod=True):
            victim.killed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)

    def _end(self, guest: Guest) -> None:
        """Wait until a guest has ended; check its exit code and output, unless it was killed."""
        _, code, output = KINDS[guest.kind]
        if guest.kind.startswith("spin"):
            self._containerd.ctr("task", "kill", "-s", "SIGTERM", guest.name)
        with contextlib.suppress(AssertionError):
            until(lambda: self._containerd.status(guest.name) in ("STOPPED", ""), 20)
        gone = self._containerd.ctr("task", "rm", "-f", guest.name).stderr
        self._containerd.ctr("container", "rm", guest.name)
        if not guest.started or guest.killed:
            return
        # `ctr` prints every exit code except 0.
        if (f"exit code {code}" not in gone) if code else gone:
            self.report.lost.append(f"{guest}: not {code} but {gone.strip()!r}")
        said = guest.log.read_text() if guest.log.exists() else ""
        if output and said != output:
            self.report.lost.append(f"{guest}: {len(said)} bytes of {len(output)}")
        guest.log.unlink(missing_ok=True)

    def _settle(self, but: str) -> None:
        """Wait until only the permanent pod is left: its shim's processes, its socket and its group."""
        place = self._containerd.directory

        def left() -> list[str]:
            lines = [*traces(place, "soak-"), *(self._zombies() if but else ())]
            return [line for line in lines if not (but and (f"-id {but}" in line or but in line or self._of_pod(line)))]

        with contextlib.suppress(AssertionError):
            until(lambda: not left(), 45)
        self.report.left += left()

    def _zombies(self) -> list[str]:
        """Processes of containers that the permanent daemon has not reaped."""
        return [f"zombie {pid}" for pid in processes(self._daemon) if not alive(pid)]

    def _of_pod(self, line: str) -> bool:
        if line.startswith("socket"):
            return line.split()[1] in _words(self._daemon)
        return line.startswith("process") and int(line.split()[1].rstrip(":")) in {self._daemon, *waiting(self._daemon)}


def _group(name: str) -> tuple[str, str]:
    return "--annotation", f"io.kubernetes.cri.sandbox-id={name}"


def _words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> int:
    """Soak for the given number of seconds and print the report; return 1 if an invariant is violated."""
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        report = Soak(Path(directory), seed).run(float(sys.argv[1]))
    print(report.table(), *report.violations(), sep="\n")
    return 1 if report.violations() else 0


if __name__ == "__main__":
    sys.exit(main())
