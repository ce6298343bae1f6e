"""The isolation that a spec requests, as lists of operations. Pure: no system calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation import kind_plan, namespace_plan
from pelagos_core.isolation.entering import (
    CheckWorkingDirectory,
    CopyContainer,
    EnterContainerRoot,
    EnterContainerUser,
    FindContainerRoot,
    JoinCgroup,
    JoinContainer,
)
from pelagos_core.isolation.filesystem import (
    AssembleRoot,
    ChangeRoot,
    ChdirToRoot,
    NameRoot,
    OpenSource,
    RebindRoot,
)
from pelagos_core.isolation.identity import (
    AllowRlimits,
    BecomeRoot,
    CheckMountLabel,
    DieWithShim,
    NewSession,
    RestoreSignals,
    SetOomScore,
    SetUmask,
    TakeName,
)
from pelagos_core.isolation.kind_plan import Steps
from pelagos_core.isolation.operation import Close, Operation, Refuse
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.isolation.state import CONTAINER, CONTROL, ENTRYPOINT
from pelagos_core.isolation.streams import (
    OF_INIT,
    OF_JOINING,
    LeaveTerminal,
    MoveDescriptors,
    ReportSignals,
    UseStreams,
)
from pelagos_core.isolation.system_calls import NO_FILTERS, Filters
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Kind, split_func
from pelagos_core.plugin.program import GUEST_ROOT
from pelagos_core.rootfs.mount_options import PROPAGATION

_INIT = "init process"
_NATIVE_BESIDE_WASM = "a native program cannot join a Wasm guest in a user namespace"


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive steps. process, name: the process that executes them, and the phase, as text."""

    process: str
    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations of one process of a container.

    begin: right after the fork; the host's files are accessible.
    outside: for a container with a user namespace, the steps that need the privileges of the host;
        a first process executes them. second_stage: clones the second process, in that namespace.
    assemble: up to a root file system in which the entry point can be opened. The entry point's
        kind selects the next part, `native` or `wasm`.
    program: for an engine that is a program: the steps between `wasm.complete` and the steps of its engine root, and
        the seal that replaces `wasm.seal`.
    ready: when the workload waits for Start. start: after Start. end: after the workload.
    cgroup: the control group that one of the steps joins.
    uid: the owner of files that are created in the root, in the id space of that file system.
    """

    begin: tuple[Operation, ...]
    assemble: tuple[Operation, ...]
    wasm: Steps
    program: Steps
    native: Steps
    cgroup: Cgroup
    uid: int = 0
    ready: tuple[Operation, ...] = ()
    start: tuple[Operation, ...] = ()
    end: tuple[Operation, ...] = ()
    outside: tuple[Operation, ...] = ()
    second_stage: SecondStageClone | None = None

    def of(self, kind: Kind) -> Steps:
        """The steps for an entry point of this kind, unless the engine is a program."""
        return self.native if kind.is_native else self.wasm

    def phases(self) -> list[Phase]:
        """All steps, in order. One of the branches, `if`, is taken; that of a program follows `if wasm: complete`."""
        first = "first process, with the host's privileges" if self.second_stage else _INIT
        second = "second process, in the user namespace" if self.second_stage else _INIT
        return [
            Phase(first, "begin", self.begin),
            Phase(first, "outside", self.outside),
            Phase(first, "second stage", (self.second_stage,) if self.second_stage else ()),
            Phase(second, "assemble", self.assemble),
            Phase(second, "if wasm: complete", self.wasm.complete),
            Phase(second, "if wasm: seal", self.wasm.seal),
            Phase(second, "if wasm by a program: complete", self.program.complete),
            Phase(second, "if wasm by a program: seal", self.program.seal),
            Phase(second, "if native: complete", self.native.complete),
            Phase(second, "if native: seal", self.native.seal),
            Phase(second, "ready", self.ready),
            Phase(second, "start", self.start),
            Phase(second, "end", self.end),
        ]

    def with_entrypoint(self) -> Plan:
        """The plan for a process with an open entry point: its descriptor stays open too."""
        *others, last = self.begin
        assert isinstance(last, MoveDescriptors)
        return replace(self, begin=(*others, MoveDescriptors((*last.slots, ENTRYPOINT))))

    def describe(self) -> list[str]:
        """One line for each step, in order, with its phase."""
        return [f"{phase.name}: {operation.line()}" for phase in self.phases() for operation in phase.operations]


def plan(bundle: Bundle, cgroup: Cgroup, filters: Filters = NO_FILTERS) -> Plan:
    """Turn a bundle into operations.

    Raises Unimplemented that names a field of the spec that pelagos does not support.
    """
    spec = kind_plan.with_whole_mounts(bundle)
    user = spec.namespace("user")
    mounting = kind_plan.mounting(spec, opened=user is not None)
    early, late = kind_plan.by_time(mounting)
    propagation = _propagation(spec)
    namespaces = namespace_plan.entering(spec, propagation, _foreign(bundle))
    root = AssembleRoot(bundle.rootfs, propagation == PROPAGATION["shared"])
    settings = namespace_plan.settings_of(spec)
    # The group is joined before the namespaces: the root of a new cgroup namespace is the group of its creator.
    first: list[Operation] = [DieWithShim(), JoinCgroup(cgroup), *_oom_score(spec.process)]
    if spec.mount_label:
        first.append(CheckMountLabel(spec.mount_label))
    uid = spec.process.user.uid
    enter = (ChangeRoot(),)
    native = kind_plan.for_native(spec, late, cgroup, filters, enter)
    streams = kind_plan.streams_of(spec, uid, console=kind_plan.makes_devices(spec))
    whole = Plan(
        begin=_begin(bundle, spec, OF_INIT),
        assemble=(),
        wasm=kind_plan.for_wasm(bundle, spec, late, filters, enter),
        program=Steps((), kind_plan.seal_of_guest(spec, enter, filters.program, filters)),
        native=replace(native, complete=(*native.complete, *streams)),
        cgroup=cgroup,
        uid=uid,
        ready=_ready(spec),
        start=_start(spec),
        end=_end(spec),
    )
    if user is None:
        into = namespace_plan.with_loopback(namespaces)
        return replace(whole, assemble=(*first, *namespace_plan.times(spec), *into, *settings, root, *early))
    # Namespaces with a path may belong to any user namespace; new ones must belong to the container's.
    joining, unsharing = replace(namespaces, unshared=("mount",)), namespaces.inner()
    if spec.process.rlimits:
        # In the first process: only the host's root may raise a hard limit, not CAP_SYS_RESOURCE of a user namespace.
        first.append(AllowRlimits(spec.process.rlimits))
    sources = tuple(
        OpenSource(mount, step.source) for mount, step in zip(spec.mounts, mounting, strict=True) if step.source
    )
    return replace(
        whole,
        outside=(*first, joining, root, *sources, ChdirToRoot()),
        second_stage=SecondStageClone(user, spec.id_maps, spec.namespace("pid")),
        assemble=(
            NewSession(),  # the leader of the present session is the first process, which exits
            DieWithShim(),  # not inherited by a fork (prctl(2))
            # Before BecomeRoot: the file for the offsets belongs to the host's root.
            *namespace_plan.times(spec),
            BecomeRoot(),
            *namespace_plan.with_loopback(unsharing),
            *settings,
            RebindRoot(),
            *early,
        ),
    )


def _foreign(bundle: Bundle) -> frozenset[str]:
    """The types of namespaces that must not be the host's. Checked again at the join: the path may have changed."""
    policy = bundle.policy
    return frozenset({"network"} if policy.network and not policy.host_network else ())


def _propagation(spec: Spec) -> int:
    """The propagation of the host's mounts in the new namespace: an MS_ flag."""
    flag = PROPAGATION[spec.rootfs_propagation.removeprefix("r") or "slave"]
    # The root is bound in it, so it becomes unbindable only at the end.
    return PROPAGATION["private"] if flag == PROPAGATION["unbindable"] else flag


def joining_plan(
    bundle: Bundle, cgroup: Cgroup, filters: Filters = NO_FILTERS, *, native: bool, enclosed: bool = False
) -> Plan:
    """The operations of a further process in a running container; `spec.process` is its own.

    native: whether the container's init process is native. A process of the other kind gets a private copy of the
    mounts, with /proc, /sys and devices removed or added.
    enclosed: whether the container's root is inside an engine root: then a process can enter only a copy of it.
    """
    spec = replace(kind_plan.with_whole_mounts(bundle), rootfs_propagation="")  # the mounts exist already
    _, late = kind_plan.by_time(kind_plan.mounting(spec, opened=False))
    there = CheckWorkingDirectory(spec.process.cwd)
    uid = spec.host_uid or 0
    streams = kind_plan.streams_of(spec, uid, console=False)
    as_it_is, in_copy = _entering_container(spec, EnterContainerRoot()), _entering_container(spec, ChangeRoot())
    if enclosed:
        as_it_is = in_copy
    copy = () if enclosed else (CopyContainer(),)
    wasm_enters, native_enters = (in_copy, as_it_is) if native else (as_it_is, in_copy)
    wasm = kind_plan.for_wasm(bundle, spec, late, filters, wasm_enters)
    program = kind_plan.for_native(spec, late, cgroup, filters, native_enters, mounted=True)
    if native:
        # The container's mounts were not requested for a guest: views of the kernel are removed, not refused.
        shielding = kind_plan.shielding((), kind_plan.volumes_of(spec))
        wasm = replace(
            wasm, complete=(*copy, *shielding, there, *kind_plan.narrowing(bundle), *kind_plan.input_of(bundle))
        )
        program = replace(program, complete=(there, *streams))
    else:
        wasm = replace(wasm, complete=(there, *kind_plan.input_of(bundle)))
        # New file systems would belong to the host's root, whose id the container's user namespace does not map.
        mapped = (Refuse(_NATIVE_BESIDE_WASM),) if spec.namespace("user") else ()
        program = replace(program, complete=(*mapped, *copy, there, *program.complete, *streams))
    kinds = JoinContainer().kinds + (("time",) if spec.namespace("time") else ())
    find = CopyContainer(GUEST_ROOT) if enclosed else FindContainerRoot()
    return Plan(
        begin=_begin(bundle, spec, OF_JOINING),
        assemble=(DieWithShim(), JoinCgroup(cgroup), *_oom_score(spec.process), JoinContainer(kinds), find),
        wasm=wasm,
        program=Steps(() if native else copy, kind_plan.seal_of_guest(spec, in_copy, filters.program, filters)),
        native=program,
        cgroup=cgroup,
        uid=uid,
        ready=_ready(spec),
        start=_start(spec),
        end=_end(spec),
    )


def _entering_container(spec: Spec, root: Operation) -> tuple[Operation, ...]:
    # The user namespace is entered last: pivot_root(2) needs privileges in the user namespace that owns the mount
    # namespace, which is the host's for a copy.
    user = (EnterContainerUser(),) if spec.namespace("user") else ()
    return (root, *user, Close(CONTAINER))


def _begin(bundle: Bundle, spec: Spec, descriptors: tuple[str, ...]) -> tuple[Operation, ...]:
    words = spec.process.args
    path, _ = split_func(words[0])
    name = os.path.basename(path) or "pelagos-init"
    return (
        NameRoot(bundle.root),
        TakeName(name, words),
        RestoreSignals(),
        NewSession(),
        SetUmask(0),
        MoveDescriptors(descriptors),
    )


def _ready(spec: Spec) -> tuple[Operation, ...]:
    return (ReportSignals(),) if spec.process.terminal else ()


def _start(spec: Spec) -> tuple[Operation, ...]:
    # The daemon reads messages of a running guest: keys, refusals of memory.
    listens = spec.process.terminal or spec.memory_limit is not None
    return (UseStreams(),) if listens else (UseStreams(), Close(CONTROL))


def _end(spec: Spec) -> tuple[Operation, ...]:
    return (LeaveTerminal(),) if spec.process.terminal else ()


def _oom_score(process: Process) -> list[Operation]:
    return [SetOomScore(process.oom_score_adj)] if process.oom_score_adj is not None else []
