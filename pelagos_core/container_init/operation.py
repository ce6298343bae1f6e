"""The steps of isolation, as data: each says what it does and does it."""

from __future__ import annotations

import posixpath
import signal
import socket
from dataclasses import dataclass
from typing import Protocol

from pelagos_core.entrypoint import Entrypoint
from pelagos_core.linux import capabilities, credentials, namespaces
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.linux.rootfs import Root, make_mounts_private
from pelagos_core.program import GUEST_ROOT, SCRATCH, Program
from pelagos_core.spec import Capabilities, Mount, Namespace, User

# For what engines write beside their work. They see it, their guests do not.
_SCRATCH = Mount(SCRATCH, "tmpfs", "scratch", ("nosuid", "nodev", "noexec", "mode=1777", "size=16m"))


class Operation(Protocol):
    """One step. Runs in the init process; what it raises ends that process."""

    def describe(self) -> str:
        """What it does, for the log and for the error if it fails."""

    def execute(self, root: Root) -> None:
        """Do it. Raises OSError or PelagosError."""


@dataclass(frozen=True, slots=True)
class DieWithShim:
    """Have the kernel kill this process when the shim ends."""

    def describe(self) -> str:
        return "die with the shim"

    def execute(self, root: Root) -> None:
        credentials.die_with_parent(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class JoinCgroup:
    """Enter the container's control group, before a cgroup namespace is made of it."""

    cgroup: Cgroup

    def describe(self) -> str:
        return f"join the cgroup {self.cgroup.paths[0] if self.cgroup.paths else '(none)'}"

    def execute(self, root: Root) -> None:
        self.cgroup.join()


@dataclass(frozen=True, slots=True)
class EnterNamespaces:
    """Join the namespaces given by path, then unshare the others.

    The mount namespace is always new; the pid namespace was entered by being born in it.
    """

    joined: tuple[Namespace, ...]
    unshared: tuple[str, ...]

    def describe(self) -> str:
        return f"namespaces: new {', '.join(self.unshared)}; joined {', '.join(n.type for n in self.joined) or 'none'}"

    def execute(self, root: Root) -> None:
        for namespace in self.joined:
            namespaces.join(namespace.type, namespace.path)
        namespaces.unshare(self.unshared)
        make_mounts_private()
        if "network" in self.unshared:
            namespaces.bring_loopback_up()


@dataclass(frozen=True, slots=True)
class SetHostname:
    """Set the host name of the new uts namespace."""

    name: str

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def execute(self, root: Root) -> None:
        socket.sethostname(self.name)


@dataclass(frozen=True, slots=True)
class AssembleRoot:
    """Mount the root file system's layers in the private mount namespace."""

    layers: tuple[Mount, ...]

    def describe(self) -> str:
        return f"root file system of {len(self.layers)} mounts"

    def execute(self, root: Root) -> None:
        root.assemble(self.layers)


@dataclass(frozen=True, slots=True)
class MountVolume:
    """Put one mount of the spec in place."""

    mount: Mount

    def describe(self) -> str:
        return f"mount {self.mount.source or self.mount.type} on {self.mount.destination}"

    def execute(self, root: Root) -> None:
        root.mount(self.mount)


@dataclass(frozen=True, slots=True)
class MakeWorkingDirectory:
    """Make the process' working directory if the image lacks it, as runc does."""

    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"

    def execute(self, root: Root) -> None:
        root.make_directory(self.path)


@dataclass(frozen=True, slots=True)
class MakeRootReadonly:
    """Make the root read-only, once all mount points are there."""

    def describe(self) -> str:
        return "read-only root"

    def execute(self, root: Root) -> None:
        root.make_readonly()


@dataclass(frozen=True, slots=True)
class EnterEngineRoot:
    """Put the container's root below a root in which an engine's program can run."""

    program: Program
    entrypoint: Entrypoint

    @property
    def file_path(self) -> str:
        """Where the program finds its copy of the entry point: where a guest would see it.

        A program names its guest by the path that it is given.
        """
        taken = {self.program.path, *(file.target for file in self.program.files)}
        path = posixpath.normpath(posixpath.join("/", self.entrypoint.path))
        inside = path == GUEST_ROOT or path.startswith(f"{GUEST_ROOT}/") or path == "/"
        clash = inside or any(
            path == each or each.startswith(f"{path}/") or path.startswith(f"{each}/") for each in taken
        )
        return "/module.wasm" if clash else path

    def describe(self) -> str:
        return f"engine root of {self.program.source}"

    def execute(self, root: Root) -> None:
        root.enclose(GUEST_ROOT)
        for file in self.program.files:
            root.bind_file(file.source, file.target)
        root.copy_file(self.entrypoint.file, self.file_path)
        root.mount(_SCRATCH)
        root.make_readonly()


@dataclass(frozen=True, slots=True)
class ChangeRoot:
    """Make the assembled directory `/`; the host's files are gone after this."""

    user: User
    capabilities: Capabilities

    def describe(self) -> str:
        return f"change the root, become user {self.user.uid}:{self.user.gid}"

    def execute(self, root: Root) -> None:
        available = capabilities.permitted()  # read while the host's /proc is still there
        root.pivot()
        credentials.become(self.user, self.capabilities, available)


@dataclass(frozen=True, slots=True)
class ForbidNewPrivileges:
    """Set no_new_privs, whatever the spec says: a guest never needs more than it has."""

    def describe(self) -> str:
        return "no new privileges"

    def execute(self, root: Root) -> None:
        credentials.forbid_new_privileges()
