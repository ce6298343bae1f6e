"""The parts of a plan that depend on the entry point's kind, and mounts. Pure: no system calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation.devices import ForbidDevices, LinkDevices, LinkStreams, MakeDevices
from pelagos_core.isolation.entering import (
    FixNameSources,
    LeaveNetwork,
)
from pelagos_core.isolation.filesystem import (
    MakeMountReadonly,
    MakeRootReadonly,
    MakeWorkingDirectory,
    MaskPaths,
    MountCgroups,
    MountVolume,
    NarrowRoot,
    ProtectPaths,
    SetRootPropagation,
    ShieldEngine,
    ShowRelativeLinks,
)
from pelagos_core.isolation.identity import (
    ApplyLabel,
    BecomeUser,
    DieWithShim,
    EnterWorkingDirectory,
    ForbidNewPrivileges,
    NewSessionKeyring,
    OpenLabel,
    SetIoPriority,
    SetPersonality,
    SetRlimits,
    SetScheduler,
)
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.seccomp import Filter
from pelagos_core.isolation.security_labels import UNCONFINED
from pelagos_core.isolation.state import source_slot
from pelagos_core.isolation.streams import (
    GiveStreams,
    NoInput,
    TakeTerminal,
    UseOwnTerminal,
)
from pelagos_core.isolation.system_calls import Filters, FilterSystemCalls
from pelagos_core.linux.syscalls import MS_RDONLY
from pelagos_core.oci import Capabilities, Device, Mount, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.rootfs import device_nodes
from pelagos_core.rootfs.kernel_views import KERNEL_FILE_SYSTEMS
from pelagos_core.rootfs.mount_options import PROPAGATION, parse_options
from pelagos_core.rootfs.mounts import is_bind


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps for one kind of entry point.

    complete: the rest of the root file system, while the host's files are accessible.
    seal: from the change of root on; the host's files are not accessible afterwards.
    """

    complete: tuple[Operation, ...]
    seal: tuple[Operation, ...]


def with_whole_mounts(bundle: Bundle) -> Spec:
    """The spec with complete mounts: absolute sources, default id maps, the SELinux label."""
    label = bundle.spec.mount_label

    def whole(mount: Mount) -> Mount:
        if is_bind(mount):
            # `idmap` without ranges means the map of the container's user namespace.
            own = {"idmap", "ridmap"} & set(mount.options) and not mount.id_maps
            if not own and mount.source.startswith("/"):
                return mount  # the usual case
            maps = bundle.spec.id_maps if own else mount.id_maps
            return replace(mount, source=os.path.join(bundle.path, mount.source), id_maps=maps)
        if label and mount.type not in KERNEL_FILE_SYSTEMS - {"devpts"}:
            return replace(mount, options=(*mount.options, f'context="{label}"'))
        return mount

    mounts = tuple(map(whole, bundle.spec.mounts))
    return bundle.spec if mounts == bundle.spec.mounts else replace(bundle.spec, mounts=mounts)


def mounting(spec: Spec, *, opened: bool) -> list[MountVolume]:
    """A step for each mount of the spec. opened: whether the sources of binds are opened before."""
    return [
        MountVolume(_without_ro(mount), source_slot(number) if opened and is_bind(mount) else "")
        for number, mount in enumerate(spec.mounts)
    ]


def by_time(steps: list[MountVolume]) -> tuple[list[MountVolume], list[MountVolume]]:
    """Split the mounts into those of any container, and those that depend on the entry point's kind.

    A mount below one of the second part, such as a file in /proc, belongs to the second part too.
    """
    early: list[MountVolume] = []
    late: list[MountVolume] = []
    for step in steps:
        waiting = [f"{each.mount.destination.rstrip('/')}/" for each in late]
        below = any(step.mount.destination.startswith(each) for each in waiting)
        (late if below or step.mount.type in KERNEL_FILE_SYSTEMS else early).append(step)
    return early, late


def for_wasm(
    bundle: Bundle, spec: Spec, late: list[MountVolume], filters: Filters, enter: tuple[Operation, ...]
) -> Steps:
    """The steps for a guest with its engine in this process.

    late: second part of `by_time`. enter: the steps that change the root.
    """
    # A guest makes no system calls, so it has no use for views of the kernel.
    volumes = volumes_of(spec)
    complete: list[Operation] = [step for step in late if step.mount.type not in KERNEL_FILE_SYSTEMS]
    # Views of the kernel are removed after all is mounted; links are replaced after that.
    complete += [*_devices_of_guest(spec), *shielding(volumes, volumes), *_last_mounts(spec), *narrowing(bundle)]
    names = (FixNameSources(),) if bundle.policy.network else ()  # while the host's files are accessible
    return Steps((*complete, *input_of(bundle)), (*names, *seal_of_guest(spec, enter, filters.embedded, filters)))


def seal_of_guest(
    spec: Spec, enter: tuple[Operation, ...], engine: Filter | None, filters: Filters
) -> tuple[Operation, ...]:
    """The steps from the change of root on. engine: the filter of its engine; `filters` has the spec's."""
    opened, applied = _labels(spec.process, executed=False)
    return (
        *_terminal(spec),
        *opened,  # while the host's /proc is accessible
        *enter,
        *_root_propagation(spec),
        *_limits(spec),
        BecomeUser(spec.process.user, _executed(spec.process)),
        *applied,
        ForbidNewPrivileges(),  # regardless of the spec: a guest needs no more privileges
        DieWithShim(),  # again: the change of credentials has cleared it (prctl(2))
        *([FilterSystemCalls("policy", filters.outbound)] if filters.outbound else []),
        # The spec's filter is installed last: it may refuse the call that installs the other one.
        *([FilterSystemCalls("engine", engine)] if engine else []),
        *([FilterSystemCalls("spec", filters.spec)] if filters.spec else []),
    )


def volumes_of(spec: Spec) -> tuple[Mount, ...]:
    """The mounts of the spec that a guest gets too."""
    return tuple(mount for mount in spec.mounts if mount.type not in KERNEL_FILE_SYSTEMS)


def shielding(asked: tuple[Mount, ...], volumes: tuple[Mount, ...]) -> list[Operation]:
    """The steps that remove views of the kernel and device access, for a guest.

    asked: mounts that are refused if they are views of the kernel.
    """
    links = [ShowRelativeLinks(tuple(mount.destination for mount in volumes))] if volumes else []
    return [ForbidDevices(), ShieldEngine(asked), *links]


def narrowing(bundle: Bundle) -> tuple[Operation, ...]:
    """The steps that restrict a guest's directories by its policy."""
    leave = () if bundle.policy.network else (LeaveNetwork(),)
    return (*leave, *map(NarrowRoot, bundle.policy.directories))


def input_of(bundle: Bundle) -> tuple[Operation, ...]:
    """The steps that close a guest's input by its policy."""
    return () if bundle.policy.stdin else (NoInput(),)


def for_native(
    spec: Spec,
    late: list[MountVolume],
    cgroup: Cgroup,
    filters: Filters,
    enter: tuple[Operation, ...],
    *,
    mounted: bool = False,
) -> Steps:
    """The steps for a native program, without those of its streams.

    late: second part of `by_time`. enter: the steps that change the root. mounted: bind the host's device nodes.
    """
    namespaced = spec.namespace("cgroup") is not None
    complete: list[Operation] = [
        MountCgroups(step.mount, cgroup, namespaced) if step.mount.type in ("cgroup", "cgroup2") else step
        for step in late
    ]
    if makes_devices(spec):
        given = tuple(device for device in spec.devices if device.path != device_nodes.MULTIPLEXER)
        complete += [MakeDevices(_with(device_nodes.DEFAULT, given), mounted), LinkDevices()]
    complete += _last_mounts(spec)
    process = spec.process
    opened, applied = _labels(process, executed=True)
    filtering = [FilterSystemCalls("spec", filters.spec)] if filters.spec else []
    seal = (
        *_terminal(spec),
        *opened,
        *enter,
        *_root_propagation(spec),
        NewSessionKeyring(),
        EnterWorkingDirectory(process.cwd),  # as root: the user may lack permission for a directory of the path
        *_limits(spec),
        # Without no_new_privs a filter needs CAP_SYS_ADMIN, which BecomeUser drops.
        *([] if process.no_new_privileges else filtering),
        BecomeUser(process.user, process.capabilities),
        *applied,
        *([ForbidNewPrivileges()] if process.no_new_privileges else []),
        DieWithShim(),  # again: the change of credentials has cleared it (prctl(2))
        *(filtering if process.no_new_privileges else []),
    )
    return Steps(tuple(complete), seal)


def streams_of(spec: Spec, uid: int, *, console: bool) -> tuple[Operation, ...]:
    """The steps for a native program's streams, which it may open by path. uid: in the container's id space."""
    own = (UseOwnTerminal(uid, console),) if spec.process.terminal else ()
    return (*own, GiveStreams(spec.process.user.uid))


def makes_devices(spec: Spec) -> bool:
    """Whether to create device nodes: only if /dev is the container's own, not a bound directory of the host."""
    mounted = [mount for mount in spec.mounts if mount.destination.rstrip("/") == "/dev"]
    return not any(mount.type == "bind" or {"bind", "rbind"} & set(mount.options) for mount in mounted)


def _terminal(spec: Spec) -> tuple[Operation, ...]:
    return (TakeTerminal(),) if spec.process.terminal else ()


def _devices_of_guest(spec: Spec) -> list[Operation]:
    # Only in the container's own /dev: nothing is created in an image or in a directory of the host.
    own = any(mount.destination.rstrip("/") == "/dev" for mount in spec.mounts) and makes_devices(spec)
    harmless = tuple(filter(device_nodes.is_harmless, spec.devices))
    devices = _with(device_nodes.DEFAULT if own else (), harmless)
    made: list[Operation] = [MakeDevices(devices, mounted=True)] if devices else []
    return [*made, *([LinkStreams()] if makes_devices(spec) else [])]


def _with(defaults: tuple[Device, ...], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    given = {device.path for device in devices}
    return (*devices, *(device for device in defaults if device.path not in given))


def _without_ro(mount: Mount) -> Mount:
    """Remove `ro` from a tmpfs, which becomes read-only at the end: mount points must be created in it first."""
    if not _is_readonly_tmpfs(mount):
        return mount
    return replace(mount, options=tuple(word for word in mount.options if word != "ro"))


def _is_readonly_tmpfs(mount: Mount) -> bool:
    return mount.type == "tmpfs" and bool(parse_options(mount.options).flags & MS_RDONLY)


def _last_mounts(spec: Spec) -> list[Operation]:
    """The steps after all mounts: in a read-only root no mount point can be created."""
    last: list[Operation] = []
    if spec.process.cwd != "/":
        last.append(MakeWorkingDirectory(spec.process.cwd))
    if spec.readonly_paths:
        last.append(ProtectPaths(spec.readonly_paths))
    if spec.masked_paths:
        last.append(MaskPaths(spec.masked_paths))
    # A tmpfs becomes read-only after the mount points in it are created.
    last += [MakeMountReadonly(mount.destination) for mount in spec.mounts if _is_readonly_tmpfs(mount)]
    if spec.root.readonly:
        last.append(MakeRootReadonly())
    return last


def _root_propagation(spec: Spec) -> list[Operation]:
    word = spec.rootfs_propagation
    if not word:
        return []
    return [SetRootPropagation(PROPAGATION[word.removeprefix("r")], word.startswith("r"))]


def _limits(spec: Spec) -> list[Operation]:
    """The steps that need privileges, before they are dropped."""
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
    """The capabilities after an execve(2), which an engine in this process does not call.

    Specs have root's sets for any user, since execve(2) clears them (capabilities(7)).
    """
    sets = process.capabilities
    if process.user.uid == 0:
        return sets
    kept = sets.ambient & sets.permitted & sets.inheritable
    return replace(sets, effective=kept, permitted=kept)


def _labels(process: Process, *, executed: bool) -> tuple[list[OpenLabel], list[ApplyLabel]]:
    """The steps that open the labels' files, and those that write them, in reverse order."""
    labels: list[tuple[str, str]] = []
    if process.apparmor_profile not in ("", UNCONFINED):
        labels.append(("process.apparmorProfile", process.apparmor_profile))
    if process.selinux_label:
        labels.append(("process.selinuxLabel", process.selinux_label))
    opened = [OpenLabel(field, value, executed) for field, value in labels]
    return opened, [ApplyLabel(field, value, executed) for field, value in reversed(labels)]
