"""The steps of isolation, as data: each says what it does and does it."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass, replace
from typing import ClassVar

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.isolation import sysctl
from pelagos_core.linux import credentials, namespaces, syscalls
from pelagos_core.oci import Namespace, TimeOffset
from pelagos_core.rootfs.joined_root import JoinedRoot
from pelagos_core.rootfs.propagation import set_propagation
from pelagos_core.rootfs.root import Root

CONTAINER = 7
"""Where a further process of a container finds the pidfd of its init process."""


class Operation:
    """One step. Runs in the init process; what it raises ends that process."""

    __slots__ = ()
    reason: ClassVar[str] = reasons.ISOLATION
    """What an error of the step is named by, where the error says nothing itself."""

    def describe(self) -> str:
        """What it does, for the log and for the error if it fails."""
        raise NotImplementedError

    def execute(self, root: Root) -> None:
        """Do it. Raises OSError or PelagosError."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Refuse(Operation):
    """What pelagos cannot do, where only the entry point's kind tells that it is asked for."""

    what: str

    def describe(self) -> str:
        return f"refuse: {self.what}"

    def execute(self, root: Root) -> None:
        raise Unimplemented(self.what)


@dataclass(frozen=True, slots=True)
class DieWithShim(Operation):
    """Have the kernel kill this process when the shim ends."""

    def describe(self) -> str:
        return "die with the shim"

    def execute(self, root: Root) -> None:
        credentials.die_with_parent(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class JoinCgroup(Operation):
    """Enter the container's control group, before a cgroup namespace is made of it."""

    cgroup: Cgroup

    def describe(self) -> str:
        return f"join the cgroup {self.cgroup.paths[0] if self.cgroup.paths else '(none)'}"

    def execute(self, root: Root) -> None:
        self.cgroup.join()


@dataclass(frozen=True, slots=True)
class EnterNamespaces(Operation):
    """Join the namespaces given by path, then unshare the others.

    The mount namespace is always new; the pid namespace was entered by being born in it.
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

    def execute(self, root: Root) -> None:
        for namespace in self.joined:
            namespaces.join(namespace.type, namespace.path, foreign=namespace.type in self.changed)
        namespaces.unshare(self.unshared)
        set_propagation(self.propagation)
        if "network" in self.unshared:
            namespaces.bring_loopback_up()


@dataclass(frozen=True, slots=True)
class EnterTimeNamespace(Operation):
    """Enter a new time namespace, whose clocks are ahead by these offsets.

    Before this process is root of a user namespace: the file for the offsets is the host's root's.
    """

    offsets: tuple[TimeOffset, ...]

    def describe(self) -> str:
        return f"new time namespace{''.join(f', {each.clock} +{each.seconds}' for each in self.offsets)}"

    def execute(self, root: Root) -> None:
        namespaces.unshare_time(self.offsets)


@dataclass(frozen=True, slots=True)
class JoinContainer(Operation):
    """Join the namespaces of a running container and find its root.

    The mount namespace comes last, with the change of root; the pid namespace was entered
    by being born in it.
    """

    kinds: tuple[str, ...] = ("cgroup", "ipc", "network", "uts")

    def describe(self) -> str:
        return f"join the container's namespaces: {', '.join(self.kinds)}"

    def execute(self, root: Root) -> None:
        namespaces.join_process(CONTAINER, self.kinds)
        assert isinstance(root, JoinedRoot)
        root.find()


@dataclass(frozen=True, slots=True)
class CopyContainer(Operation):
    """Take a copy of the container's mounts for this process alone."""

    def describe(self) -> str:
        return "copy the container's mounts"

    def execute(self, root: Root) -> None:
        assert isinstance(root, JoinedRoot)
        root.copy()


@dataclass(frozen=True, slots=True)
class CheckWorkingDirectory(Operation):
    """See that the process' working directory is there: a running container is not added to."""

    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"

    def execute(self, root: Root) -> None:
        assert isinstance(root, JoinedRoot)
        root.check_directory(self.path)


@dataclass(frozen=True, slots=True)
class LeaveNetwork(Operation):
    """Give a guest a network namespace with nothing in it, whatever its engine would let it do."""

    def describe(self) -> str:
        return "no network"

    def execute(self, root: Root) -> None:
        namespaces.unshare(("network",))


@dataclass(frozen=True, slots=True)
class SetHostname(Operation):
    """Set the host name of the new uts namespace."""

    name: str

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def execute(self, root: Root) -> None:
        socket.sethostname(self.name)


@dataclass(frozen=True, slots=True)
class SetDomainName(Operation):
    """Set the NIS domain name of the uts namespace."""

    name: str

    def describe(self) -> str:
        return f"set the domain name {self.name}"

    def execute(self, root: Root) -> None:
        syscalls.setdomainname(self.name)


@dataclass(frozen=True, slots=True)
class SetSysctls(Operation):
    """Set kernel parameters of the container's namespaces: names and values."""

    parameters: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return f"sysctls {', '.join(name for name, _ in self.parameters)}"

    def execute(self, root: Root) -> None:
        for name, value in self.parameters:
            try:
                sysctl.write(name, value)
            except OSError as error:
                raise InvalidArgument(f"linux.sysctl: {name} = {value!r}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class ChangeRoot(Operation):
    """Make the assembled directory `/`; the host's files are gone after this."""

    def describe(self) -> str:
        return "change the root"

    def execute(self, root: Root) -> None:
        root.pivot()
