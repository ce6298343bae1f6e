"""The second stage of an init process: a process in the user namespace, once the host's part is done.

The first process assembles the root file system with the privileges of the host. A mount
namespace belongs to a user namespace for good, and so does a pid namespace, so the process
that will be the container's is a new one, cloned into all of them; CLONE_PARENT makes the
daemon its parent.

    first: assemble, clone, write the maps, report the pid, leave
    second: wait for the first's byte, then for the daemon's go-ahead

Source: user_namespaces(7), clone(2).
"""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.linux import namespaces, syscalls, user_namespaces
from pelagos_core.oci import IdMaps, Namespace


@dataclass(frozen=True, slots=True)
class SecondStageClone:
    """The step that makes the second process, and where it is made.

    user: its user namespace, new or given. id_maps: of a new one.
    pid: its pid namespace, new or given; None for the first process' own.
    """

    user: Namespace
    id_maps: IdMaps
    pid: Namespace | None

    def describe(self) -> str:
        """What it does, for the log."""
        pid = "the shim's" if self.pid is None else self.pid.path or "a new"
        return f"second process: {self.user.path or 'a new'} user namespace, {pid} pid namespace"

    def line(self) -> str:
        """As of an Operation. It is none: the process that goes on after it is another one."""
        maps = "; ".join(self.id_maps.lines())
        return f"{self.describe()} ({maps})" if maps else self.describe()

    def fork(self) -> int:
        """Fork the second process; returns its pid, and 0 in it. In the first process.

        Raises OSError or InvalidArgument.
        """
        flags = syscalls.CLONE_PARENT
        if self.pid is not None and self.pid.path:
            namespaces.join("pid", self.pid.path)  # with the host's privileges, so before the other
        elif self.pid is not None:
            flags |= syscalls.CLONE_NEWPID
        if self.user.path:
            namespaces.join("user", self.user.path)
        else:
            flags |= syscalls.CLONE_NEWUSER
        return syscalls.fork(flags)

    def write_maps(self, pid: int) -> None:
        """Map the ids of the second process. In the first one. Raises PermissionDenied."""
        if not self.user.path:
            user_namespaces.write_maps(f"/proc/{pid}", self.id_maps)
