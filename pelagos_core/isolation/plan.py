"""What isolation a spec asks for, as lists of operations. Pure: nothing is touched."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation import namespace_plan
from pelagos_core.isolation.filesystem import (
    AssembleRoot,
    FollowRoot,
    ForbidDevices,
    LinkDevices,
    LinkStreams,
    MakeDevices,
    MakeMountReadonly,
    MakeRootReadonly,
    MakeWorkingDirectory,
    MaskPaths,
    MountCgroups,
    MountVolume,
    NarrowRoot,
    OpenSources,
    ProtectPaths,
    SetRootPropagation,
    ShieldEngine,
    ShowRelativeLinks,
)
from pelagos_core.isolation.identity import (
    AllowRlimits,
    ApplyLabels,
    BecomeRoot,
    BecomeUser,
    CheckMountLabel,
    EnterWorkingDirectory,
    ForbidNewPrivileges,
    NewSessionKeyring,
    PrepareLabel,
    SetIoPriority,
    SetOomScore,
    SetPersonality,
    SetRlimits,
    SetScheduler,
)
from pelagos_core.isolation.operation import (
    ChangeRoot,
    CheckWorkingDirectory,
    CopyContainer,
    DieWithShim,
    JoinCgroup,
    JoinContainer,
    LeaveNetwork,
    Operation,
    Refuse,
)
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.isolation.system_calls import NO_FILTERS, ConfineEngine, Filters, FilterSystemCalls
from pelagos_core.linux.security_labels import UNCONFINED
from pelagos_core.oci import Capabilities, Device, Mount, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Kind
from pelagos_core.rootfs import device_nodes
from pelagos_core.rootfs.mount_options import MS_RDONLY, PROPAGATION, parse_options
from pelagos_core.rootfs.mount_table import KERNEL_FILE_SYSTEMS
from pelagos_core.rootfs.mounts import is_bind

_NATIVE_BESIDE_WASM = "a native program cannot join a Wasm guest in a user namespace"


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done for one kind of entry point.

    complete: the rest of the root file system; the host's files are still in reach.
    seal: from the change of root on; nothing of the host is in reach afterwards.
    """

    complete: tuple[Operation, ...]
    seal: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations of one process of a container.

    outside: for a container with a user namespace, what needs the privileges of the host; it
        is done by a first process. birth: of the second one, into that namespace.
    assemble: up to a root file system in which the entry point can be opened. What that is
        decides how it goes on: `native` or `wasm`.
    cgroup: the control group that one of the steps joins.
    has_own_dev: whether the steps make a /dev for a native program.
    """

    assemble: tuple[Operation, ...]
    wasm: Steps
    native: Steps
    cgroup: Cgroup
    has_own_dev: bool = False
    outside: tuple[Operation, ...] = ()
    birth: SecondStageClone | None = None

    def of(self, kind: Kind) -> Steps:
        """How it goes on for an entry point of this kind."""
        return self.native if kind.is_native else self.wasm

    def describe(self) -> list[str]:
        """One line for each step, in order."""
        lines = [operation.describe() for operation in self.outside]
        lines += [self.birth.describe()] if self.birth else []
        lines += [operation.describe() for operation in self.assemble]
        for name, steps in (("wasm", self.wasm), ("native", self.native)):
            lines += [f"if {name}: {operation.describe()}" for operation in (*steps.complete, *steps.seal)]
        return lines


def plan(bundle: Bundle, cgroup: Cgroup, filters: Filters = NO_FILTERS) -> Plan:
    """Turn a bundle into operations.

    Raises Unimplemented that names what the spec asks for and pelagos cannot do.
    """
    spec = _with_whole_mounts(bundle)
    early, late = _by_time(spec.mounts)
    propagation = _propagation(spec)
    namespaces = namespace_plan.entering(spec, propagation)
    root = AssembleRoot(bundle.rootfs, propagation == PROPAGATION["shared"])
    volumes, settings = list(map(_volume, early)), namespace_plan.settings_of(spec)
    first: list[Operation] = [DieWithShim(), JoinCgroup(cgroup), *_oom_score(spec.process)]
    if spec.mount_label:
        first.append(CheckMountLabel(spec.mount_label))
    wasm, native = _for_wasm(bundle, spec, late, filters), _for_native(spec, late, cgroup, filters)
    user = spec.namespace("user")
    if user is None:
        assemble = (*first, *namespace_plan.times(spec), namespaces, *settings, root, *volumes)
        return Plan(assemble, wasm, native, cgroup, _makes_devices(spec))
    # Given namespaces may be anybody's, new ones are to be the user namespace's own.
    joining, unsharing = replace(namespaces, unshared=("mount",)), namespaces.inner()
    if spec.process.rlimits:
        first.append(AllowRlimits(spec.process.rlimits))
    return Plan(
        (DieWithShim(), *namespace_plan.times(spec), BecomeRoot(), unsharing, *settings, FollowRoot(), *volumes),
        wasm,
        native,
        cgroup,
        _makes_devices(spec),
        (*first, joining, root, OpenSources(tuple(filter(is_bind, spec.mounts)))),
        SecondStageClone(user, spec.id_maps, spec.namespace("pid")),
    )


def _propagation(spec: Spec) -> int:
    """Of the host's mounts in the new namespace: an MS_ flag."""
    flag = PROPAGATION[spec.rootfs_propagation.removeprefix("r") or "slave"]
    # The root itself is bound there; it becomes unbindable at last.
    return PROPAGATION["private"] if flag == PROPAGATION["unbindable"] else flag


def joining_plan(bundle: Bundle, cgroup: Cgroup, filters: Filters = NO_FILTERS, *, native: bool) -> Plan:
    """The operations of a further process in a running container; `spec.process` is its own.

    native: whether the container's first process is native, and so what is mounted in it. One
    of the other kind gets a copy of its mounts, less or more what its own kind must do without.
    """
    spec = replace(_with_whole_mounts(bundle), rootfs_propagation="")  # its mounts are as they are
    _, late = _by_time(spec.mounts)
    there = CheckWorkingDirectory(spec.process.cwd)
    wasm, program = _for_wasm(bundle, spec, late, filters), _for_native(spec, late, cgroup, filters, mounted=True)
    if native:
        # What the container asks for was not for a guest: it is taken away, and not refused.
        shielding = _shielding((), _volumes(spec))
        wasm = replace(wasm, complete=(CopyContainer(), *shielding, there, *_narrowing(bundle)))
        program = replace(program, complete=(there,))
    else:
        wasm = replace(wasm, complete=(there,))
        # The file systems made for it would belong to the host's root, who is nobody in there.
        mapped = (Refuse(_NATIVE_BESIDE_WASM),) if spec.namespace("user") else ()
        program = replace(program, complete=(*mapped, CopyContainer(), there, *program.complete))
    score = _oom_score(spec.process)
    kinds = JoinContainer().kinds + (("time",) if spec.namespace("time") else ())
    return Plan((DieWithShim(), JoinCgroup(cgroup), *score, JoinContainer(kinds)), wasm, program, cgroup)


def _with_whole_mounts(bundle: Bundle) -> Spec:
    """The spec, with what its mounts leave to be known from elsewhere."""
    label = bundle.spec.mount_label

    def whole(mount: Mount) -> Mount:
        if is_bind(mount):
            # An id map without ranges is that of the container's own user namespace.
            own = {"idmap", "ridmap"} & set(mount.options) and not mount.id_maps
            maps = bundle.spec.id_maps if own else mount.id_maps
            return replace(mount, source=os.path.join(bundle.path, mount.source), id_maps=maps)
        if label and mount.type not in KERNEL_FILE_SYSTEMS - {"devpts"}:
            return replace(mount, options=(*mount.options, f'context="{label}"'))
        return mount

    return replace(bundle.spec, mounts=tuple(map(whole, bundle.spec.mounts)))


def _by_time(mounts: tuple[Mount, ...]) -> tuple[list[Mount], list[Mount]]:
    """Those that any container gets, and those that wait for the kind of its entry point.

    What lies below a mount that waits, such as a file in /proc, waits with it.
    """
    early: list[Mount] = []
    late: list[Mount] = []
    for mount in mounts:
        below = any(mount.destination.startswith(f"{each.destination.rstrip('/')}/") for each in late)
        (late if below or mount.type in KERNEL_FILE_SYSTEMS else early).append(mount)
    return early, late


def _for_wasm(bundle: Bundle, spec: Spec, late: list[Mount], filters: Filters) -> Steps:
    # A guest has no system calls: the views of the kernel serve nobody in its container.
    volumes = _volumes(spec)
    complete: list[Operation] = [_volume(mount) for mount in late if mount in volumes]
    complete += [*_devices_of_guest(spec), *_shielding(volumes, volumes), *_last_mounts(spec), *_narrowing(bundle)]
    labels = _labels(spec.process, executed=False)
    seal = (
        *labels,
        ChangeRoot(),
        *_root_propagation(spec),
        *_limits(spec),
        BecomeUser(spec.process.user, _executed(spec.process)),
        *([ApplyLabels()] if labels else []),
        ForbidNewPrivileges(),  # whatever the spec says: a guest never needs more than it has
        DieWithShim(),  # the kernel has forgotten it when the credentials changed
        # The spec's comes last: it need not allow what puts the other one in force.
        *([ConfineEngine(filters.embedded, filters.program)] if filters.embedded and filters.program else []),
        *([FilterSystemCalls(filters.spec)] if filters.spec else []),
    )
    return Steps(tuple(complete), seal)


def _devices_of_guest(spec: Spec) -> list[Operation]:
    # Only in a /dev of the container's own: no node is made in an image or a directory of the host.
    own = any(mount.destination.rstrip("/") == "/dev" for mount in spec.mounts) and _makes_devices(spec)
    harmless = tuple(filter(device_nodes.is_harmless, spec.devices))
    devices = _with(device_nodes.DEFAULT if own else (), harmless)
    made: list[Operation] = [MakeDevices(devices, mounted=True)] if devices else []
    return [*made, *([LinkStreams()] if _makes_devices(spec) else [])]


def _volumes(spec: Spec) -> tuple[Mount, ...]:
    return tuple(mount for mount in spec.mounts if mount.type not in KERNEL_FILE_SYSTEMS)


def _shielding(asked: tuple[Mount, ...], volumes: tuple[Mount, ...]) -> list[Operation]:
    """What a guest gets in another way than a native program, or not at all.

    asked: what is refused if it shows the kernel.
    """
    links = [ShowRelativeLinks(tuple(mount.destination for mount in volumes))] if volumes else []
    return [ForbidDevices(), ShieldEngine(asked), *links]


def _narrowing(bundle: Bundle) -> tuple[Operation, ...]:
    """What a guest gets less than its container has."""
    leave = () if bundle.policy.network else (LeaveNetwork(),)
    return (*leave, *map(NarrowRoot, bundle.policy.directories))


def _for_native(spec: Spec, late: list[Mount], cgroup: Cgroup, filters: Filters, *, mounted: bool = False) -> Steps:
    namespaced = spec.namespace("cgroup") is not None
    complete: list[Operation] = [
        MountCgroups(mount, cgroup, namespaced) if mount.type in ("cgroup", "cgroup2") else _volume(mount)
        for mount in late
    ]
    if _makes_devices(spec):
        given = tuple(device for device in spec.devices if device.path != device_nodes.MULTIPLEXER)
        complete += [MakeDevices(_with(device_nodes.DEFAULT, given), mounted), LinkDevices()]
    complete += _last_mounts(spec)
    process = spec.process
    labels = _labels(process, executed=True)
    filtering = [FilterSystemCalls(filters.spec)] if filters.spec else []
    seal = (
        *labels,
        ChangeRoot(),
        *_root_propagation(spec),
        NewSessionKeyring(),
        EnterWorkingDirectory(process.cwd),
        *_limits(spec),
        # Without no_new_privs a filter needs a capability that is about to be lost.
        *([] if process.no_new_privileges else filtering),
        BecomeUser(process.user, process.capabilities),
        *([ApplyLabels()] if labels else []),
        *([ForbidNewPrivileges()] if process.no_new_privileges else []),
        DieWithShim(),
        *(filtering if process.no_new_privileges else []),
    )
    return Steps(tuple(complete), seal)


def _with(defaults: tuple[Device, ...], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    given = {device.path for device in devices}
    return (*devices, *(device for device in defaults if device.path not in given))


def _makes_devices(spec: Spec) -> bool:
    """Whether /dev is the container's own: a directory of the host that is bound there is left alone."""
    mounted = [mount for mount in spec.mounts if mount.destination.rstrip("/") == "/dev"]
    return not any(mount.type == "bind" or {"bind", "rbind"} & set(mount.options) for mount in mounted)


def _volume(mount: Mount) -> MountVolume:
    if _is_readonly_tmpfs(mount):
        mount = replace(mount, options=tuple(word for word in mount.options if word != "ro"))
    return MountVolume(mount)


def _is_readonly_tmpfs(mount: Mount) -> bool:
    return mount.type == "tmpfs" and bool(parse_options(mount.options).flags & MS_RDONLY)


def _last_mounts(spec: Spec) -> list[Operation]:
    """What comes when all mounts are there: nothing can be made in a read-only root."""
    last: list[Operation] = []
    if spec.process.cwd != "/":
        last.append(MakeWorkingDirectory(spec.process.cwd))
    if spec.readonly_paths:
        last.append(ProtectPaths(spec.readonly_paths))
    if spec.masked_paths:
        last.append(MaskPaths(spec.masked_paths))
    # A tmpfs is read-only once what is mounted on it has its mount points.
    last += [MakeMountReadonly(mount.destination) for mount in spec.mounts if _is_readonly_tmpfs(mount)]
    if spec.root.readonly:
        last.append(MakeRootReadonly())
    return last


def _oom_score(process: Process) -> list[Operation]:
    return [SetOomScore(process.oom_score_adj)] if process.oom_score_adj is not None else []


def _root_propagation(spec: Spec) -> list[Operation]:
    word = spec.rootfs_propagation
    if not word:
        return []
    return [SetRootPropagation(PROPAGATION[word.removeprefix("r")], word.startswith("r"))]


def _limits(spec: Spec) -> list[Operation]:
    """What needs the privileges that the process is about to lose."""
    process = spec.process
    limits: list[Operation] = []
    if process.scheduler:
        limits.append(SetScheduler(process.scheduler))
    if process.io_priority:
        limits.append(SetIoPriority(process.io_priority))
    if spec.personality:
        limits.append(SetPersonality(spec.personality))
    if process.rlimits:
        limits.append(SetRlimits(process.rlimits))
    return limits


def _executed(process: Process) -> Capabilities:
    """What execve(2) would leave: an engine runs without it.

    Specs give the sets of root to any user, since the kernel takes them away (capabilities(7)).
    """
    sets = process.capabilities
    if process.user.uid == 0:
        return sets
    kept = sets.ambient & sets.permitted & sets.inheritable
    return replace(sets, effective=kept, permitted=kept)


def _labels(process: Process, *, executed: bool) -> list[Operation]:
    labels: list[Operation] = []
    if process.apparmor_profile not in ("", UNCONFINED):
        labels.append(PrepareLabel("process.apparmorProfile", process.apparmor_profile, executed))
    if process.selinux_label:
        labels.append(PrepareLabel("process.selinuxLabel", process.selinux_label, executed))
    return labels
