"""A node after a reboot: all of its pods start at once, and no zygote runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks import processes, programs
from benchmarks.contender import Contender
from benchmarks.pod import Pod
from benchmarks.samples import Measured
from benchmarks.stage import Stage


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The time until the last container runs, and the memory of all processes."""
    processes.end_others()
    count = stage.settings.idle_pods
    program = programs.sleeper(native=contender.native)
    before = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        pods = list(pool.map(lambda _: Pod(stage, contender, program), range(count)))
    for pod in pods:
        pod.client.run([pod.first.begin()])
    yield Measured(f"{count} pods at once", "until all run", "ms", (time.perf_counter() - before) * 1e3)
    time.sleep(stage.settings.settle_seconds)
    yield Measured(f"{count} pods at once", "memory (PSS)", "MiB", processes.pss_mib(processes.others()))
