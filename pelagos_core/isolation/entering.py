"""The steps into control groups and namespaces, and into a container that runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pelagos_core.cgroups import joining as cgroup_joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import InvalidArgument, NotFound, PelagosError
from pelagos_core.isolation import sysctl
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTAINER, ROOT
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Namespace, TimeOffset
from pelagos_core.rootfs import mount_points
from pelagos_core.rootfs.mounts import TREE


def joining(namespace: Namespace, *, foreign: bool = False) -> Instruction:
    """Move the process into a given namespace (`pid`: its children).

    foreign: it must be another one than the process', which is the host's.
    """
    own = f"/proc/self/ns/{namespaces.FILES[namespace.type]}" if foreign else ""
    return instruction("join_namespace", namespace.path, namespaces.CLONE_FLAGS[namespace.type], own)


def not_joined(namespace: Namespace, failed: Failure) -> InvalidArgument:
    """The error for a path that is no namespace of its kind, or is the process' own."""
    what = f"{namespace.type} namespace {namespace.path!r}"
    if failed.stage == "host":
        return InvalidArgument(f"{what} is the host's, and the spec changes something in it")
    return InvalidArgument(f"{what}: {failed.strerror}")


def unsharing(kinds: Iterable[str]) -> Instruction:
    """Move the process into a new namespace of each kind."""
    return instruction("unshare", sum(namespaces.CLONE_FLAGS[kind] for kind in kinds))


@dataclass(frozen=True, slots=True)
class JoinCgroup(Operation):
    """Enter the container's control group, before a cgroup namespace is made of it."""

    cgroup: Cgroup

    def describe(self) -> str:
        return f"join the cgroup {self.cgroup.paths[0] if self.cgroup.paths else '(none)'}"

    def details(self) -> str:
        return ", ".join(self.cgroup.paths[1:])

    def instructions(self) -> tuple[Instruction, ...]:
        return cgroup_joining.joining(self.cgroup)

    def failure(self, failed: Failure) -> PelagosError:
        return cgroup_joining.not_joined(self.cgroup, failed)


@dataclass(frozen=True, slots=True)
class EnterNamespaces(Operation):
    """Join the namespaces given by path, then unshare the others.

    The mount namespace is always new; the pid namespace was entered by the clone.
    changed: types in which something is set, so that they may not be the host's.
    propagation: of all mounts, an MS_ flag: as slaves they see what the host mounts later, and
        the host sees nothing of ours.
    """

    joined: tuple[Namespace, ...]
    unshared: tuple[str, ...]
    changed: frozenset[str] = frozenset()
    propagation: int = syscalls.MS_SLAVE

    def inner(self) -> EnterNamespaces:
        """What of it is done in a new user namespace.

        In there the host's mounts are slaves at best (mount_namespaces(7)). Shared with each other,
        none could become the root.
        """
        inner = syscalls.MS_SLAVE if self.propagation == syscalls.MS_SHARED else self.propagation
        return replace(self, joined=(), propagation=inner)

    def describe(self) -> str:
        return f"namespaces: new {', '.join(self.unshared)}; joined {', '.join(n.type for n in self.joined) or 'none'}"

    def details(self) -> str:
        paths = [f"{each.type} of {each.path}" for each in self.joined]
        changed = [f"not the host's: {', '.join(sorted(self.changed))}"] if self.changed else []
        return "; ".join([*paths, *changed, f"propagation {self.propagation:#x}"])

    def instructions(self) -> tuple[Instruction, ...]:
        return (
            *(joining(namespace, foreign=namespace.type in self.changed) for namespace in self.joined),
            unsharing(self.unshared),
            # Before anything is mounted: the new namespace's mounts are in the peer groups of the host's shared ones
            # (mount_namespaces(7)), so that a mount in here would appear on the host as well.
            instruction("set_propagation", self.propagation | syscalls.MS_REC),
        )

    def failure(self, failed: Failure) -> PelagosError:
        if failed.step < len(self.joined):
            return not_joined(self.joined[failed.step], failed)
        return Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class BringLoopbackUp(Operation):
    """Have the loopback device of a new network namespace up: the kernel makes it down."""

    def describe(self) -> str:
        return "bring the loopback device up"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("bring_loopback_up"),)


@dataclass(frozen=True, slots=True)
class EnterTimeNamespace(Operation):
    """Enter a new time namespace, whose clocks are ahead by these offsets.

    Before this process is root of a user namespace: the file for the offsets is the host's root's.
    """

    offsets: tuple[TimeOffset, ...]

    def describe(self) -> str:
        return f"new time namespace{''.join(f', {each.clock} +{each.seconds}' for each in self.offsets)}"

    def instructions(self) -> tuple[Instruction, ...]:
        # time_namespaces(7): unshare(2) prepares it for children; until the first one is in it the offsets can be set,
        # and setns(2) takes the process itself there.
        text = "".join(f"{each.clock} {each.seconds} {each.nanoseconds}\n" for each in self.offsets)
        return (
            unsharing(("time",)),
            *([instruction("write_file", "/proc/self/timens_offsets", text.encode())] if text else []),
            joining(Namespace("time", "/proc/self/ns/time_for_children")),
        )


@dataclass(frozen=True, slots=True)
class JoinContainer(Operation):
    """Join namespaces of a running container.

    The mount namespace comes last, with the change of root; the pid namespace was entered
    by the clone.
    """

    kinds: tuple[str, ...] = ("cgroup", "ipc", "network", "uts")

    def reads(self) -> tuple[str, ...]:
        return (CONTAINER,)

    def describe(self) -> str:
        return f"join the container's namespaces: {', '.join(self.kinds)}"

    def instructions(self) -> tuple[Instruction, ...]:
        flags = sum(namespaces.CLONE_FLAGS[kind] for kind in self.kinds)
        return (instruction("join_namespaces", Slot(CONTAINER), flags),)


@dataclass(frozen=True, slots=True)
class FindContainerRoot(Operation):
    """Have the container's root as the root, while the process' own mounts are still the host's."""

    def reads(self) -> tuple[str, ...]:
        return (CONTAINER,)

    def writes(self) -> tuple[str, ...]:
        return (ROOT,)

    def describe(self) -> str:
        return "find the container's root"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("find_container_root", Slot(CONTAINER)),)


@dataclass(frozen=True, slots=True)
class CopyContainer(Operation):
    """Take a copy of the container's mounts for this process alone.

    inside: where in the container's mount namespace its root is.
    """

    inside: str = "/"

    def reads(self) -> tuple[str, ...]:
        return (CONTAINER,)

    def writes(self) -> tuple[str, ...]:
        return (ROOT,)

    def describe(self) -> str:
        return f"copy the container's mounts below {self.inside}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (
            instruction("copy_container", Slot(CONTAINER), self.inside, TREE),
            unsharing(("mount",)),
            instruction("set_propagation", syscalls.MS_PRIVATE | syscalls.MS_REC),
            instruction("open_root"),
            instruction("cover_root", TREE),
        )

    def failure(self, failed: Failure) -> PelagosError:
        return mount_points.root_failure(failed) or Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class CheckWorkingDirectory(Operation):
    """See that the process' working directory is there: a running container is not added to."""

    path: str

    def reads(self) -> tuple[str, ...]:
        return (ROOT,)

    def describe(self) -> str:
        return f"working directory {self.path}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("check_directory", self.path),)

    def failure(self, failed: Failure) -> PelagosError:
        return NotFound(f"working directory {self.path!r} in the container: {failed.strerror}")


@dataclass(frozen=True, slots=True)
class EnterContainerRoot(Operation):
    """Enter the container's mount namespace; the host's files are gone after this."""

    def reads(self) -> tuple[str, ...]:
        return (ROOT, CONTAINER)

    def describe(self) -> str:
        return "enter the container's mount namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("enter_container_root", Slot(CONTAINER)),)


@dataclass(frozen=True, slots=True)
class EnterContainerUser(Operation):
    """Enter the container's user namespace, in which the process has nothing of the host's privileges any more."""

    def reads(self) -> tuple[str, ...]:
        return (CONTAINER,)

    def describe(self) -> str:
        return "enter the container's user namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("join_namespaces", Slot(CONTAINER), syscalls.CLONE_NEWUSER),)


@dataclass(frozen=True, slots=True)
class LeaveNetwork(Operation):
    """Give a guest a network namespace with nothing in it, whatever its engine would let it do."""

    def describe(self) -> str:
        return "no network"

    def instructions(self) -> tuple[Instruction, ...]:
        return (unsharing(("network",)),)


@dataclass(frozen=True, slots=True)
class SetHostname(Operation):
    """Set the host name of the new uts namespace."""

    name: str

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_host_name", self.name),)


@dataclass(frozen=True, slots=True)
class SetDomainName(Operation):
    """Set the NIS domain name of the uts namespace."""

    name: str

    def describe(self) -> str:
        return f"set the domain name {self.name}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_domain_name", self.name),)


@dataclass(frozen=True, slots=True)
class SetSysctls(Operation):
    """Set kernel parameters of the container's namespaces: names and values."""

    parameters: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return f"sysctls {', '.join(name for name, _ in self.parameters)}"

    def details(self) -> str:
        return ", ".join(f"{name} = {value}" for name, value in self.parameters)

    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(instruction("write_file", sysctl.file_of(name), value.encode()) for name, value in self.parameters)

    def failure(self, failed: Failure) -> PelagosError:
        name, value = self.parameters[failed.step]
        return InvalidArgument(f"linux.sysctl: {name} = {value!r}: {failed.strerror}")
