"""What isolation a spec asks for, as two lists of operations. Pure: nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.bundle import Bundle
from pelagos_core.container_init.operation import (
    AssembleRoot,
    ChangeRoot,
    DieWithShim,
    EnterNamespaces,
    ForbidNewPrivileges,
    JoinCgroup,
    MakeRootReadonly,
    MakeWorkingDirectory,
    MountVolume,
    Operation,
    SetHostname,
)
from pelagos_core.errors import Unimplemented
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.spec import Mount, Spec

# A Wasm guest has no system calls, so these serve nobody in its container; and through
# /proc it could open its own engine's memory (`/proc/self/mem`) and leave the sandbox.
_KERNEL_FILE_SYSTEMS = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "devtmpfs", "securityfs"})
_NAMESPACES_OF_INIT = ("cgroup", "ipc", "network", "uts")


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations of one init process.

    assemble: up to a complete root file system; the host's files are still in reach.
    seal: from the change of root on; nothing of the host is in reach afterwards.
    """

    assemble: tuple[Operation, ...]
    seal: tuple[Operation, ...]

    def describe(self) -> list[str]:
        """One line for each step, in order."""
        return [operation.describe() for operation in (*self.assemble, *self.seal)]


def plan(bundle: Bundle, cgroup: Cgroup) -> Plan:
    """Turn a bundle into operations.

    Raises Unimplemented that names what the spec asks for and pelagos cannot do.
    """
    spec = bundle.spec
    volumes = tuple(MountVolume(mount) for mount in spec.mounts if not _left_out(mount))
    assemble: list[Operation] = [DieWithShim(), JoinCgroup(cgroup), _namespaces(spec)]
    if spec.hostname:
        assemble.append(_hostname(spec))
    assemble += [AssembleRoot(bundle.rootfs), *volumes]
    if spec.process.cwd != "/":
        assemble.append(MakeWorkingDirectory(spec.process.cwd))
    if spec.root.readonly:
        assemble.append(MakeRootReadonly())
    seal = (
        ChangeRoot(spec.process.user, spec.process.capabilities),
        ForbidNewPrivileges(),
        DieWithShim(),  # the kernel has forgotten it when the credentials changed
    )
    return Plan(tuple(assemble), seal)


def _left_out(mount: Mount) -> bool:
    return mount.type in _KERNEL_FILE_SYSTEMS


def _namespaces(spec: Spec) -> EnterNamespaces:
    for namespace in spec.namespaces:
        if namespace.type in ("user", "time"):
            raise Unimplemented(f"linux.namespaces: {namespace.type} is not supported")
        if namespace.type == "mount" and namespace.path:
            raise Unimplemented("linux.namespaces: a mount namespace by path is not supported")
    asked = [found for kind in _NAMESPACES_OF_INIT if (found := spec.namespace(kind))]
    joined = tuple(namespace for namespace in asked if namespace.path)
    unshared = tuple(namespace.type for namespace in asked if not namespace.path)
    return EnterNamespaces(joined, ("mount", *unshared))


def _hostname(spec: Spec) -> SetHostname:
    if spec.namespace("uts") is None:
        raise Unimplemented("hostname: the spec has no uts namespace, it would rename the host")
    return SetHostname(spec.hostname)
