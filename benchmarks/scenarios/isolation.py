"""What isolation takes of a container's start: each step of a Docker-like spec, in a fork of a warm process.

Processor time, not the time that passes: the steps wait for nobody.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.samples import Measured
from benchmarks.stage import Stage
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.plan import Plan, plan
from pelagos_core.isolation.state import State
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.linux import syscalls
from pelagos_core.oci import Mount
from pelagos_core.oci.resources import Resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.rootfs.root import Root

_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID")
_MOUNTS = (
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777"]),  # noqa: S108 (a path of the container)
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
)


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The processor time of each part, and of all; `contender` is the machine itself."""
    bundle = _bundle(stage)
    cgroup = Cgroup.of(bundle.spec.cgroups_path, bundle.id)
    steps = plan(bundle, cgroup, Filters.of(None, bundle.policy.seccomp))
    runs = []
    for _ in range(stage.settings.tasks):
        cgroup.create(Resources())
        try:
            runs.append(_once(steps, bundle))
        finally:
            cgroup.try_remove()
    for name in runs[0]:
        yield Measured(name, "processor time p50", "ms", statistics.median(run[name] for run in runs) * 1e3)


def _bundle(stage: Stage) -> Bundle:
    program = programs.hello(native=False)
    path = stage.directory / "bundles" / stage.fresh("isolated")
    (path / "rootfs").mkdir(parents=True)
    config = {
        "ociVersion": "1.1.0",
        "process": {
            "args": program.args,
            "cwd": "/",
            "user": {"uid": 1000, "gid": 1000},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": where, "type": kind, "source": kind, "options": options} for where, kind, options in _MOUNTS
        ],
        "linux": {
            "cgroupsPath": f"/{stage.name}/isolated",
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "cgroup")],
            "maskedPaths": _MASKED,
            "readonlyPaths": _READONLY,
        },
    }
    Path(path, "config.json").write_text(json.dumps(config))
    return Bundle.load(str(path), path.name, "bench", [Mount("/", "bind", str(program.rootfs), ("rbind", "ro"))])


def _once(steps: Plan, bundle: Bundle) -> dict[str, float]:
    """One process that isolates itself, and what it tells of the time that took."""
    reader, writer = os.pipe()
    pid = syscalls.fork(syscalls.CLONE_NEWPID)
    if pid == 0:
        try:
            os.write(writer, json.dumps(_isolated(steps, State(Root(bundle.root)))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        data = told.read()
    os.waitpid(pid, 0)
    if not data:
        raise CallFailed("a process could not isolate itself")
    return {str(name): float(seconds) for name, seconds in json.loads(data).items()}


def _isolated(steps: Plan, state: State) -> dict[str, float]:
    parts = {
        "namespaces, control groups, root file system": steps.assemble,
        "devices, shield, masks": steps.wasm.complete,
        "change of root, credentials, system calls": steps.wasm.seal,
    }
    times = [time.process_time()]
    for operations in parts.values():
        execute(operations, state)
        times.append(time.process_time())
    spent = {name: after - before for name, (before, after) in zip(parts, itertools.pairwise(times), strict=True)}
    return {**spent, "all": times[-1] - times[0]}
