"""The timeline of one task: its landmarks among the system calls, by strace.

A seccomp filter limits tracing to the calls that mark a step, so the others have no extra cost;
a traced call costs about 30 microseconds.
"""

from __future__ import annotations

import itertools
import re
import shutil
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.pod import Pod
from benchmarks.samples import Measured
from benchmarks.stage import Stage

# The traced system calls: those of the landmarks, and few others.
_CALLS = (
    "recvfrom,recvmsg,sendto,sendmsg,write,writev,clone,clone3,unshare,mount,pivot_root,capset,seccomp,"
    "exit_group,waitid"
)
# A ttrpc frame in strace's notation: 8 bytes of lengths and stream, then type 2, a response.
_ANSWER = r'(sendto|sendmsg|write)\(\d+, "(\\\d{1,3}|\\.|[^\\]){8}\\2\\0'
# The landmarks of a task in order, each with the step that it completes. A landmark that does
# not occur is skipped.
LANDMARKS = (
    ("the request has come", r"(recvfrom|recvmsg)\(.*\\6Create"),
    ("bundle read, isolation planned", r"clone3?\("),
    ("in the init process: cgroups joined", r"unshare\("),
    ("namespaces made", r"mount\("),
    ("root mounted, entry point found", r'(sendto|sendmsg|write)\(.*\[\\"Found'),
    ("received by the daemon", r'(recvfrom|recvmsg)\(.*\[\\"Found'),
    ("module known, rest of the plan received, root completed", r"pivot_root\("),
    ("root changed", r"capset\("),
    ("credentials taken on", r"seccomp\("),
    ("module loaded", r'(sendto|sendmsg|write)\(.*\[\\"Ready'),
    ("reported to the shim", r'(recvfrom|recvmsg)\(.*\[\\"Ready'),
    ("Create answered", _ANSWER),
    ("Start received", r"(recvfrom|recvmsg)\(.*\\5Start"),
    ("Start answered", _ANSWER),
    ("the guest has written", r"writev?\(1, .*hello"),
    ("the guest has ended", r"exit_group\("),
    ("reaped", r"waitid\("),
    ("Delete received", r"(recvfrom|recvmsg)\(.*\\6Delete"),
    ("cgroups removed, Delete answered", _ANSWER),
)
_PATTERNS = [re.compile(pattern) for _, pattern in LANDMARKS]
_LINE = re.compile(r"\d+\s+(\d+\.\d+) (.*)")
_TASKS = 20
_SETTLE_SECONDS = 0.05  # between tasks, so that work after an answer is not counted for the next task

_WRAPPER = """\
#!/bin/sh
case "$*" in *start)
    # strace runs as long as the shim, and would keep the streams open that `start` must close.
    strace --seccomp-bpf -f -ttt -s 256 -e signal=none -e trace={calls} -o {directory}/trace \\
        sh -c 'exec "$@" >{directory}/address' sh {shim} "$@" </dev/null >/dev/null 2>&1 &
    until [ -s {directory}/address ]; do sleep 0.01; done
    exec cat {directory}/address ;;
esac
exec {shim} "$@"
"""


@dataclass(frozen=True, slots=True)
class Reached:
    """A landmark, by its index in the list, and the time when it was reached, in seconds of the trace's clock."""

    index: int
    time: float


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The milliseconds from each landmark to the next, medians of some tasks."""
    if not shutil.which("strace"):
        raise CallFailed("strace is not installed: on Debian, apt-get install strace")
    wrapper = stage.directory / "traced-shim"
    wrapper.write_text(_WRAPPER.format(calls=_CALLS, directory=stage.directory, shim=contender.shim))
    wrapper.chmod(0o755)
    pod = Pod(stage, replace(contender, shim=wrapper), programs.hello(native=False))
    for _ in range(_TASKS + 1):
        time.sleep(_SETTLE_SECONDS)
        pod.client.run([pod.task().life()])
    pod.shut_down()
    yield from summarize(list(tasks((stage.directory / "trace").read_text().splitlines()))[1:])


def tasks(lines: Iterable[str]) -> Iterator[list[Reached]]:
    """The landmarks of each task in a trace of consecutive tasks."""
    found: list[Reached] = []
    for line in lines:
        parsed = _LINE.match(line)
        if not parsed:
            continue
        if _PATTERNS[0].match(parsed[2]) and found:
            yield found
            found = []
        reached = found[-1].index + 1 if found else 0
        candidates = _up_to_the_next_answer(reached) if found else range(1)
        index = next((index for index in candidates if _PATTERNS[index].match(parsed[2])), None)
        if index is not None:
            found.append(Reached(index, float(parsed[1])))
    if found:
        yield found


def _up_to_the_next_answer(first: int) -> range:
    """The landmarks that may follow. No answer is skipped: other processes make system calls too."""
    rest = range(first, len(LANDMARKS))
    return range(first, next((i + 1 for i in rest if LANDMARKS[i][1] == _ANSWER), len(LANDMARKS)))


def summarize(traces: list[list[Reached]]) -> Iterator[Measured]:
    """The median time between each landmark and the previous one."""
    steps: dict[int, list[float]] = {}
    for trace in traces:
        for before, after in itertools.pairwise(trace):
            steps.setdefault(after.index, []).append(after.time - before.time)
    for index in sorted(steps):
        yield Measured("hello", LANDMARKS[index][0], "ms", statistics.median(steps[index]) * 1e3)
