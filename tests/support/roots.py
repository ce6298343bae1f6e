"""Executes steps on a root file system, in the calling process."""

from __future__ import annotations

import os

from pelagos_core.isolation.filesystem import AssembleRoot, ChangeRoot, MountVolume
from pelagos_core.isolation.operation import Operation, execute
from pelagos_core.isolation.state import State
from pelagos_core.linux import namespaces
from pelagos_core.oci import Mount
from pelagos_core.rootfs.propagation import make_mounts_private
from pelagos_core.rootfs.root import Root


def take(root: Root, *steps: Operation) -> None:
    """Execute steps on a root."""
    execute(steps, State(root))


def assembled(path: str | os.PathLike[str], layers: tuple[Mount, ...] = (), *, unshare: bool = True) -> Root:
    """Assemble the root at a path of the host. unshare: whether in a new mount namespace with private mounts."""
    if unshare:
        namespaces.unshare(["mount"])
        make_mounts_private()
    root = Root(os.fspath(path))
    take(root, AssembleRoot(layers))
    return root


def mount(root: Root, *mounts: Mount) -> None:
    """Mount file systems on a root."""
    take(root, *map(MountVolume, mounts))


def enter(root: Root) -> None:
    """Make a root the root directory of the calling process."""
    take(root, ChangeRoot())
