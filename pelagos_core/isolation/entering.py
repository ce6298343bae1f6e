"""The steps that enter control groups, namespaces, and a running container."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from pelagos_core.cgroups import joining as cgroup_joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import InvalidArgument, NotFound, PelagosError
from pelagos_core.isolation import sysctl
from pelagos_core.isolation.operation import Operation
from pelagos_core.isolation.state import CONTAINER, EMPTY_NETWORK, ROOT
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.native.instruction import Instruction, Slot, instruction
from pelagos_core.native.process import Failure
from pelagos_core.oci import Namespace, TimeOffset
from pelagos_core.rootfs import mount_points
from pelagos_core.rootfs.mounts import TREE


def joining(namespace: Namespace, *, foreign: bool = False) -> Instruction:
    """Join a namespace by path (`pid`: for its children).

    foreign: refuse the process' own namespace, which is the host's.
    """
    own = f"/proc/self/ns/{namespaces.FILES[namespace.type]}" if foreign else ""
    return instruction("join_namespace", namespace.path, namespaces.CLONE_FLAGS[namespace.type], own)


def not_joined(namespace: Namespace, failed: Failure) -> InvalidArgument:
    """The error for a path that is not a namespace of its type, or is the process' own namespace."""
    what = f"{namespace.type} namespace {namespace.path!r}"
    if failed.stage == "host":
        return InvalidArgument(f"{what} is the host's, which this container must not use")
    return InvalidArgument(f"{what}: {failed.strerror}")


def unsharing(kinds: Iterable[str]) -> Instruction:
    """Create a new namespace of each kind and enter it."""
    return instruction("unshare", sum(namespaces.CLONE_FLAGS[kind] for kind in kinds))


@dataclass(frozen=True, slots=True)
class JoinCgroup(Operation):
    """Join the container's control group. Before a new cgroup namespace: the group becomes its root."""

    is_common: ClassVar[bool] = False
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
    """Join the namespaces with a path, then unshare the others.

    The mount namespace is always new; clone(2) has entered the pid namespace.
    changed: types that must not be the host's, for example because the spec sets a sysctl in them.
    propagation: of all mounts, an MS_ flag. Slave mounts receive later mounts of the host, and
        propagate none to it.
    """

    joined: tuple[Namespace, ...]
    unshared: tuple[str, ...]
    changed: frozenset[str] = frozenset()
    propagation: int = syscalls.MS_SLAVE

    def inner(self) -> EnterNamespaces:
        """The part for a process in a new user namespace.

        The host's mounts become slaves there (mount_namespaces(7)). A shared mount cannot become the root
        (pivot_root(2)).
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
            # Before the first mount: the mounts of the new namespace are peers of the host's shared mounts
            # (mount_namespaces(7)), so a mount here would propagate to the host.
            instruction("set_propagation", self.propagation | syscalls.MS_REC),
        )

    def failure(self, failed: Failure) -> PelagosError:
        if failed.step < len(self.joined):
            return not_joined(self.joined[failed.step], failed)
        return Operation.failure(self, failed)


@dataclass(frozen=True, slots=True)
class BringLoopbackUp(Operation):
    """Bring the loopback device of a new network namespace up; the kernel creates it down."""

    def describe(self) -> str:
        return "bring the loopback device up"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("bring_loopback_up"),)


@dataclass(frozen=True, slots=True)
class EnterTimeNamespace(Operation):
    """Enter a new time namespace with these clock offsets.

    Must precede BecomeRoot: the file for the offsets belongs to the host's root.
    """

    offsets: tuple[TimeOffset, ...]

    def describe(self) -> str:
        return f"new time namespace{''.join(f', {each.clock} +{each.seconds}' for each in self.offsets)}"

    def instructions(self) -> tuple[Instruction, ...]:
        # time_namespaces(7): unshare(2) creates it for children. The offsets can be set until a process enters it;
        # setns(2) then moves the process itself.
        text = "".join(f"{each.clock} {each.seconds} {each.nanoseconds}\n" for each in self.offsets)
        return (
            unsharing(("time",)),
            *([instruction("write_file", "/proc/self/timens_offsets", text.encode())] if text else []),
            joining(Namespace("time", "/proc/self/ns/time_for_children")),
        )


@dataclass(frozen=True, slots=True)
class JoinContainer(Operation):
    """Join namespaces of a running container.

    The mount namespace is entered later, at the change of root; clone(2) has entered the pid namespace.
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
    """Open the container's root as the root slot, while the process is still in the host's mount namespace."""

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
    """Create a private copy of the container's mounts for this process.

    inside: path of the container's root in its mount namespace.
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
    """Check that the working directory exists: it is not created in a running container."""

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
    """Enter the container's mount namespace; the host's files are not accessible afterwards."""

    def reads(self) -> tuple[str, ...]:
        return (ROOT, CONTAINER)

    def describe(self) -> str:
        return "enter the container's mount namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("enter_container_root", Slot(CONTAINER)),)


@dataclass(frozen=True, slots=True)
class EnterContainerUser(Operation):
    """Enter the container's user namespace, in which the process has no privileges on the host."""

    def reads(self) -> tuple[str, ...]:
        return (CONTAINER,)

    def describe(self) -> str:
        return "enter the container's user namespace"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("join_namespaces", Slot(CONTAINER), syscalls.CLONE_NEWUSER),)


@dataclass(frozen=True, slots=True)
class LeaveNetwork(Operation):
    """Enter a new network namespace without devices, so that neither the guest nor its engine has a network."""

    def describe(self) -> str:
        return "no network"

    def instructions(self) -> tuple[Instruction, ...]:
        return (unsharing(("network",)),)


@dataclass(frozen=True, slots=True)
class EnterEmptyNetwork(Operation):
    """As LeaveNetwork, with an empty namespace that the daemon has kept."""

    def reads(self) -> tuple[str, ...]:
        return (EMPTY_NETWORK,)

    def describe(self) -> str:
        return "no network"

    def instructions(self) -> tuple[Instruction, ...]:
        slot = Slot(EMPTY_NETWORK)
        return (instruction("join_namespaces", slot, syscalls.CLONE_NEWNET), instruction("close_slot", slot))


@dataclass(frozen=True, slots=True)
class FixNameSources(Operation):
    """Look up host names only in /etc/hosts and by DNS, independent of the image's /etc/nsswitch.conf.

    For any other source the C library loads a library of the image, whose code would run outside of the sandbox.
    """

    def describe(self) -> str:
        return "host names from /etc/hosts and DNS only"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("fix_name_sources"),)


@dataclass(frozen=True, slots=True)
class SetHostname(Operation):
    """Set the host name in the new UTS namespace."""

    name: str

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_host_name", self.name),)


@dataclass(frozen=True, slots=True)
class SetDomainName(Operation):
    """Set the NIS domain name in the UTS namespace."""

    name: str

    def describe(self) -> str:
        return f"set the domain name {self.name}"

    def instructions(self) -> tuple[Instruction, ...]:
        return (instruction("set_domain_name", self.name),)


@dataclass(frozen=True, slots=True)
class SetSysctls(Operation):
    """Set kernel parameters of the container's namespaces, by name and value."""

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
