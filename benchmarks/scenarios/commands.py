"""Whole commands, as a user waits for them: `ctr run --rm` and `pelagos run`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.containerd import Containerd
from benchmarks.contender import Contender
from benchmarks.samples import Measured, latencies
from benchmarks.stage import Stage

Command = Callable[[], "subprocess.CompletedProcess[bytes]"]


def measure_ctr(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """`ctr run --rm` with a separate containerd, a new pod each time, on a warm node."""
    program = programs.hello(native=contender.native)
    with Containerd(stage.directory / stage.fresh("containerd"), stage.name) as containerd:

        def run() -> subprocess.CompletedProcess[bytes]:
            flags = ("--rm", "--runtime", str(contender.shim), "--rootfs", str(program.rootfs))
            return containerd.ctr("run", *flags, stage.fresh("ctr"), *program.args)

        yield from latencies("ctr run --rm", "command", _times(stage, run, program.says))
        yield from latencies("ctr version", "command", _times(stage, lambda: containerd.ctr("version"), b""))


def measure_run(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """`pelagos run hello.wasm`, on a warm node."""
    program = programs.hello(native=False)
    command = [str(contender.command), "run", str(program.module)]

    def run() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, capture_output=True, check=False)

    yield from latencies("pelagos run hello.wasm", "command", _times(stage, run, program.says))


def _times(stage: Stage, command: Command, says: bytes) -> list[float]:
    """The seconds of each run except the first. Raises CallFailed."""
    seconds = []
    for _ in range(stage.settings.commands + 1):
        before = time.perf_counter()
        done = command()
        seconds.append(time.perf_counter() - before)
        if done.returncode or says not in done.stdout:
            words = " ".join(map(str, done.args))
            raise CallFailed(
                f"{words}: code {done.returncode}, {done.stdout!r} {done.stderr.decode(errors='replace').strip()}"
            )
    return seconds[1:]
