"""Plans of specs that ask for much, as the compiled library reads them: what random plans are made from."""

from __future__ import annotations

import copy
import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from pelagos_core import oci
from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.errors import PelagosError
from pelagos_core.isolation import engine_root
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.plan import Plan, joining_plan, plan
from pelagos_core.isolation.seccomp import Filter
from pelagos_core.isolation.state import (
    CODE_DIRECTORY,
    CONTAINER,
    CONTROL,
    ENGINE_ROOT,
    ENTRYPOINT,
    ERRORS,
    INPUT,
    OUTPUT,
    source_slot,
)
from pelagos_core.isolation.state import ROOT as ROOT_SLOT
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.launch.guest_steps import (
    DescribeGuest,
    FindEntrypoint,
    LoadGuest,
    OpenMemoryLimit,
    ReceivePlan,
    RunGuest,
    WaitForStart,
)
from pelagos_core.launch.program_steps import ChooseProgram, ExecuteProgram, HandOverTerminal, SendFile
from pelagos_core.native.instruction import Instruction, SlotNumbers, encode
from pelagos_core.oci import Mount
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.program import HostFile, Program
from tests.support.bundles import CONFIG
from tests.support.native import SPEC_MOUNTS

# What is in the slots from the first on: fill_slots() of tests/fuzz/native/operations.c.
_SLOTS = (CONTROL, ROOT_SLOT, INPUT, OUTPUT, ERRORS, CONTAINER, CODE_DIRECTORY, ENTRYPOINT, ENGINE_ROOT, source_slot(0))
ROOT = "/c"  # where the sandbox has it: tests/fuzz/native/sandbox.c
_ALLOW = Filter(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))  # BPF_RET of SECCOMP_RET_ALLOW
_FILTERS = Filters(_ALLOW, _ALLOW, _ALLOW)
_GROUP = Cgroup((Group("/c/sys"),))
_FILES = (HostFile("/d/f", "/usr/bin/engine"), HostFile("/f", "/lib/x.so"))
_PROGRAM = Program("/d/f", "/usr/bin/engine", _FILES, ("/d/f",))

_PROCESS: dict[str, Any] = {
    **CONFIG["process"],
    "capabilities": {
        name: ["CAP_CHOWN", "CAP_KILL"] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 60, "soft": 50}, {"type": "RLIMIT_CPU", "hard": 9, "soft": 1}],
    "oomScoreAdj": 100,
    "user": {"uid": 1000, "gid": 1000, "additionalGids": [1, 2, 3], "umask": 18},
    "cwd": "/a",
    "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
}
_MOUNTS: list[dict[str, Any]] = [
    *SPEC_MOUNTS,
    {"destination": "/a/b", "type": "bind", "source": "/d", "options": ["rbind", "rro", "nosuid"]},
    {"destination": "/f", "type": "bind", "source": "/f", "options": ["bind", "ro"]},
    {"destination": "/link/made/below", "type": "bind", "source": "/d", "options": ["bind", "rslave"]},
    {"destination": "/d", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64k"]},
    {"destination": "/out/up", "type": "bind", "source": "/a", "options": ["bind", "idmap"]},
    {"destination": "/dangling", "type": "bind", "source": "/dev/null", "options": ["bind"]},
]
_MAPPINGS = {f"{kind}Mappings": [{"containerID": 0, "hostID": 0, "size": 1000}] for kind in ("uid", "gid")}
_ID_MAPPED = {
    **{"destination": "/new", "type": "bind", "source": "/lower", "options": ["bind"]},
    **{f"{kind}Mappings": [{"containerID": 0, "hostID": 1000, "size": 10}] for kind in ("uid", "gid")},
}
_LINUX: dict[str, Any] = {
    "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "cgroup")],
    "maskedPaths": ["/proc/kcore", "/d", "/f", "/none"],
    "readonlyPaths": ["/proc/sys", "/a", "/none"],
    "sysctl": {"net.ipv4.ip_forward": "1", "kernel.domainname": "x"},
    "devices": [
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 438, "uid": 1, "gid": 2},
        {"path": "/dev/pipe", "type": "p"},
    ],
    "rootfsPropagation": "rslave",
}
_OVERLAY = (Mount("/", "overlay", "overlay", ("lowerdir=/lower", "upperdir=/upper", "workdir=/work")),)


def _config(**fields: Any) -> oci.Spec:
    config = {**copy.deepcopy(CONFIG), "hostname": "box", "process": _PROCESS, "mounts": _MOUNTS, "linux": _LINUX}
    return oci.parse(json.dumps({**config, "root": {"path": ROOT, "readonly": True}, **fields}).encode())


def _bundles() -> Iterator[Bundle]:
    new_user = [*_LINUX["namespaces"], {"type": "user"}, {"type": "time"}]
    terminal = {**_PROCESS, "terminal": True, "consoleSize": {"height": 25, "width": 80}}
    with_user = {**_LINUX, **_MAPPINGS, "namespaces": new_user, "timeOffsets": {"boottime": {"secs": 5, "nanosecs": 1}}}
    given = [{"type": kind, "path": f"/proc/self/ns/{name}"} for kind, name in (("network", "net"), ("ipc", "ipc"))]
    for spec in (
        _config(),
        _config(process=terminal),
        _config(linux=with_user, mounts=[*_MOUNTS, _ID_MAPPED]),
        _config(linux={**_LINUX, "namespaces": [*_LINUX["namespaces"][2:4], *given], "rootfsPropagation": "shared"}),
        _config(mounts=[_ID_MAPPED], process=CONFIG["process"]),
    ):
        yield Bundle("c1", "test", "/", spec)
        yield Bundle("c1", "test", "/", spec, _OVERLAY)


_FIND = FindEntrypoint(("/none", "/app.wasm"))
_DESCRIBE = DescribeGuest(
    arguments=("/app.wasm", "--flag"),
    environment=("PATH=/bin", "A=B"),
    directories=(("/", "/"), ("/d", "/d")),
    calls=("_start",),
    is_component=False,
    memories=(65536,),
    limits=Limits(),
    cwd="/a",
)
_RUN = (LoadGuest("/app.wasm", compiled=True), WaitForStart(), RunGuest("a line", last=False))
_EXECUTE = (ChooseProgram("/f", ("/d/f",), "/lib/ld.so"), WaitForStart(), ExecuteProgram(("/f",), ("A=B",)))


def _ways(planned: Plan) -> Iterator[tuple[Operation, ...]]:
    """The steps of a process, for each kind of what it runs."""
    second = (planned.second_stage,) if planned.second_stage else ()
    first = *planned.begin, *planned.outside, *second, *planned.assemble, _FIND
    last = *planned.ready, *planned.start, *planned.end
    wasm, native, program = planned.wasm, planned.native, planned.program
    enclosing = engine_root.assembling(_PROGRAM, "/app.wasm", 1000, compiled=True)
    yield *first, *wasm.complete, OpenMemoryLimit("/c/f"), _DESCRIBE, *wasm.seal, *_RUN, *last
    yield *first, *native.complete, HandOverTerminal(), SendFile("/f", 4096), *native.seal, *_EXECUTE, *last
    yield *first, *wasm.complete, *program.complete, *enclosing, *program.seal, ReceivePlan(), *last


def instructions(operations: Iterable[object]) -> Iterator[Instruction]:
    """What of a plan the library carries out."""
    for operation in operations:
        try:
            yield from operation.instructions()  # type: ignore[attr-defined]
        except (NotImplementedError, AttributeError, PelagosError):
            continue  # a step that Python takes, or one that is refused when its turn comes


def processes() -> Iterator[tuple[Operation, ...]]:
    """The steps of each process of the samples."""
    for bundle in _bundles():
        plans = [plan(bundle, _GROUP, _FILTERS)]
        plans += [
            joining_plan(bundle, _GROUP, _FILTERS, native=native, enclosed=enclosed)
            for native, enclosed in ((True, False), (False, False), (False, True))
        ]
        yield from itertools.chain.from_iterable(map(_ways, plans))


def sample_plans() -> bytes:
    """Each plan, with its length before it (u32)."""
    whole = []
    for each in processes():
        numbers = SlotNumbers()
        for name in _SLOTS:
            numbers.of(name)
        whole.append(encode(instructions(each), numbers))
    return b"".join(struct.pack("=I", len(each)) + each for each in dict.fromkeys(whole))
