"""The cost of isolation at a container's start: each part of a Docker-like spec, in processes that a nursery forks.

Each case contains all steps of the previous one, from clone(2) to the exit of the process. The nursery is the same as
in a daemon, warm with the same engine, and executes the same steps. Processor time is measured, not elapsed time. It
does not include work in Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.samples import Measured
from benchmarks.stage import Stage
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.plan import Plan, plan
from pelagos_core.isolation.state import CODE_DIRECTORY, CONTROL
from pelagos_core.isolation.streams import OF_INIT, MoveDescriptors
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.launch.guest_steps import DescribeGuest, FindEntrypoint, LoadGuest, RunGuest
from pelagos_core.launch.nursery import CloneOptions, Nursery
from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.native.instruction import SlotNumbers, encode
from pelagos_core.oci import Mount
from pelagos_core.oci.resources import Resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import CODE, Entrypoint
from pelagos_core.plugin.limits import Limits
from wasmtime_backend import hooks as wasmtime

_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID")
_MOUNTS = (
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777"]),  # noqa: S108 (a path of the container)
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
)


# The process has the directory from its start; a daemon sends it later.
_KEEPING = MoveDescriptors((*OF_INIT, CODE_DIRECTORY))
_Cases = dict[str, tuple[Operation, ...]]
_Pair = tuple[Operation, Operation]


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """The processor time of a process for each case. `contender` is the machine itself."""
    bundle = _bundle(stage)
    cgroup = Cgroup.of(bundle.spec.cgroups_path, bundle.id)
    cases = _cases(plan(bundle, cgroup, Filters.of(None, bundle.policy)), _hello(bundle))
    times: dict[str, list[float]] = {name: [] for name in cases}
    with contextlib.closing(Nursery(wasmtime.pelagos_native())) as nursery, _compiled(stage, bundle) as code:
        for _ in range(stage.settings.tasks):
            for name, steps in cases.items():
                cgroup.create(Resources())
                try:
                    times[name].append(_once(nursery, steps, code))
                finally:
                    cgroup.try_remove()
    for name, seconds in times.items():
        yield Measured(name, "processor time p50", "ms", statistics.median(seconds) * 1e3)


def _cases(steps: Plan, guest: tuple[_Pair, _Pair]) -> _Cases:
    """The steps of each case, by its name. guest: the guest's steps before and after the change of root."""
    found, (load, run) = guest
    begun = tuple(_KEEPING if isinstance(step, MoveDescriptors) else step for step in steps.begin)
    assembled = (*begun, *steps.assemble)
    completed = (*assembled, *steps.wasm.complete)
    return {
        "clone, descriptors, exit": begun,
        "+ namespaces, control groups, root file system": assembled,
        "+ devices, shield, masks": completed,
        "all": (*completed, *steps.wasm.seal),
        "all, and hello from compiled code": (
            *(*assembled, *found, *steps.wasm.complete, *steps.wasm.seal),
            *(load, *steps.start, run),
        ),
    }


def _hello(bundle: Bundle) -> tuple[_Pair, _Pair]:
    """The steps of the smallest guest: those that need the host's files, and those after the system call filter."""
    words = bundle.spec.process.args
    with _entrypoint(bundle) as entrypoint:
        memories = tuple(entrypoint.interface.memories)
    described = DescribeGuest(words, (), (("/", "/"),), ("_start",), False, memories, Limits(), "/")
    return (FindEntrypoint(words), described), (LoadGuest(words[0], compiled=True), RunGuest())


@contextlib.contextmanager
def _entrypoint(bundle: Bundle) -> Iterator[Entrypoint]:
    path = programs.hello(native=False).module
    with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
        yield Entrypoint.of(bundle.spec.process, bundle.spec.process.args[0], "", file)


@contextlib.contextmanager
def _compiled(stage: Stage, bundle: Bundle) -> Iterator[int]:
    """A directory with the guest's compiled code, as in the cache."""
    directory = stage.directory / stage.fresh("code")
    directory.mkdir()
    with _entrypoint(bundle) as entrypoint:
        (directory / CODE).write_bytes(wasmtime.pelagos_compile(entrypoint))
    with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as opened:
        yield opened


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


def _once(nursery: Nursery, steps: tuple[Operation, ...], code: int) -> float:
    """The processor time of one process, in seconds. Raises CallFailed if it has not executed all steps."""
    numbers = SlotNumbers()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
        slots = {**dict.fromkeys(OF_INIT, null), CONTROL: theirs.fileno(), CODE_DIRECTORY: code}
        instructions = encode((each for step in steps for each in step.instructions()), numbers)
        given = {numbers.of(name): int(fd) for name, fd in slots.items()}
        pid = nursery.fork(instructions, given, CloneOptions(syscalls.CLONE_NEWPID))
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise CallFailed(f"a process has not executed all of its steps: status {status}")
    return usage.ru_utime + usage.ru_stime
