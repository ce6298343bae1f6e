"""The part of a plan that the kind of the entry point decides, and the mounts of both. Pure: nothing is touched."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation.devices import ForbidDevices, LinkDevices, LinkStreams, MakeDevices
from pelagos_core.isolation.entering import (
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
    """What is done for one kind of entry point.

    complete: the rest of the root file system; the host's files are still in reach.
    seal: from the change of root on; nothing of the host is in reach afterwards.
    """

    complete: tuple[Operation, ...]
    seal: tuple[Operation, ...]


def with_whole_mounts(bundle: Bundle) -> Spec:
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


def mounting(spec: Spec, *, opened: bool) -> list[MountVolume]:
    """A step for each mount of the spec. opened: the sources of binds have been opened before."""
    return [
        MountVolume(_without_ro(mount), source_slot(number) if opened and is_bind(mount) else "")
        for number, mount in enumerate(spec.mounts)
    ]


def by_time(steps: list[MountVolume]) -> tuple[list[MountVolume], list[MountVolume]]:
    """Those that any container gets, and those that wait for the kind of its entry point.

    What lies below a mount that waits, such as a file in /proc, waits with it.
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
    """The steps for a guest whose engine is in this process.

    late: of `by_time`. enter: the steps that change the root.
    """
    # A guest has no system calls: the views of the kernel are of no use in its container.
    volumes = volumes_of(spec)
    complete: list[Operation] = [step for step in late if step.mount.type not in KERNEL_FILE_SYSTEMS]
    # What shows the kernel is looked for once all is mounted, and the links are looked at when that is gone.
    complete += [*_devices_of_guest(spec), *shielding(volumes, volumes), *_last_mounts(spec), *narrowing(bundle)]
    return Steps((*complete, *input_of(bundle)), seal_of_guest(spec, enter, filters.embedded, filters))


def seal_of_guest(
    spec: Spec, enter: tuple[Operation, ...], engine: Filter | None, filters: Filters
) -> tuple[Operation, ...]:
    """From the change of root on. engine: the filter for its engine; the spec's is one of `filters`."""
    opened, applied = _labels(spec.process, executed=False)
    return (
        *_terminal(spec),
        *opened,  # while the host's /proc is there
        *enter,
        *_root_propagation(spec),
        *_limits(spec),
        BecomeUser(spec.process.user, _executed(spec.process)),
        *applied,
        ForbidNewPrivileges(),  # whatever the spec says: a guest never needs more than it has
        DieWithShim(),  # the kernel has forgotten it when the credentials changed
        # The spec's comes last: it need not allow what puts the other one in force.
        *([FilterSystemCalls("engine", engine)] if engine else []),
        *([FilterSystemCalls("spec", filters.spec)] if filters.spec else []),
    )


def volumes_of(spec: Spec) -> tuple[Mount, ...]:
    """The mounts that a guest gets too."""
    return tuple(mount for mount in spec.mounts if mount.type not in KERNEL_FILE_SYSTEMS)


def shielding(asked: tuple[Mount, ...], volumes: tuple[Mount, ...]) -> list[Operation]:
    """What a guest gets in another way than a native program, or not at all.

    asked: what is refused if it shows the kernel.
    """
    links = [ShowRelativeLinks(tuple(mount.destination for mount in volumes))] if volumes else []
    return [ForbidDevices(), ShieldEngine(asked), *links]


def narrowing(bundle: Bundle) -> tuple[Operation, ...]:
    """What a guest gets less than its container has."""
    leave = () if bundle.policy.network else (LeaveNetwork(),)
    return (*leave, *map(NarrowRoot, bundle.policy.directories))


def input_of(bundle: Bundle) -> tuple[Operation, ...]:
    """What a guest gets less to read than its container has."""
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
    """The steps for a native program, but for its streams.

    late: of `by_time`. enter: the steps that change the root. mounted: show the host's device nodes, make none.
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
        EnterWorkingDirectory(process.cwd),  # as root: the user need not be let into the directories on the way
        *_limits(spec),
        # Without no_new_privs a filter needs a capability that is about to be lost.
        *([] if process.no_new_privileges else filtering),
        BecomeUser(process.user, process.capabilities),
        *applied,
        *([ForbidNewPrivileges()] if process.no_new_privileges else []),
        DieWithShim(),  # the kernel has forgotten it when the credentials changed
        *(filtering if process.no_new_privileges else []),
    )
    return Steps(tuple(complete), seal)


def streams_of(spec: Spec, uid: int, *, console: bool) -> tuple[Operation, ...]:
    """A native program's: it looks itself up by their names. uid: as the container's file systems know the user."""
    own = (UseOwnTerminal(uid, console),) if spec.process.terminal else ()
    return (*own, GiveStreams(spec.process.user.uid))


def makes_devices(spec: Spec) -> bool:
    """Whether /dev is the container's own: a directory of the host that is bound there is left alone."""
    mounted = [mount for mount in spec.mounts if mount.destination.rstrip("/") == "/dev"]
    return not any(mount.type == "bind" or {"bind", "rbind"} & set(mount.options) for mount in mounted)


def _terminal(spec: Spec) -> tuple[Operation, ...]:
    return (TakeTerminal(),) if spec.process.terminal else ()


def _devices_of_guest(spec: Spec) -> list[Operation]:
    # Only in a /dev of the container's own: no node is made in an image or a directory of the host.
    own = any(mount.destination.rstrip("/") == "/dev" for mount in spec.mounts) and makes_devices(spec)
    harmless = tuple(filter(device_nodes.is_harmless, spec.devices))
    devices = _with(device_nodes.DEFAULT if own else (), harmless)
    made: list[Operation] = [MakeDevices(devices, mounted=True)] if devices else []
    return [*made, *([LinkStreams()] if makes_devices(spec) else [])]


def _with(defaults: tuple[Device, ...], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    given = {device.path for device in devices}
    return (*devices, *(device for device in defaults if device.path not in given))


def _without_ro(mount: Mount) -> Mount:
    """A tmpfs is made read-only in the end: nothing could be made in it before."""
    if not _is_readonly_tmpfs(mount):
        return mount
    return replace(mount, options=tuple(word for word in mount.options if word != "ro"))


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


def _labels(process: Process, *, executed: bool) -> tuple[list[OpenLabel], list[ApplyLabel]]:
    """The steps that open the labels' files, and those that write them: in the reverse order."""
    labels: list[tuple[str, str]] = []
    if process.apparmor_profile not in ("", UNCONFINED):
        labels.append(("process.apparmorProfile", process.apparmor_profile))
    if process.selinux_label:
        labels.append(("process.selinuxLabel", process.selinux_label))
    opened = [OpenLabel(field, value, executed) for field, value in labels]
    return opened, [ApplyLabel(field, value, executed) for field, value in reversed(labels)]
