"""Views of the kernel: mounts that give access to the kernel or to processes, which a Wasm guest must not have.

The types of file systems and devices, and the text of a refusal. The check itself is in
native/process/kernel_views.c.
"""

from __future__ import annotations

import os
import struct

from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import mountinfo
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import Failure
from pelagos_core.rootfs import device_nodes

KERNEL_FILE_SYSTEMS = frozenset(
    """
    binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devpts devtmpfs efivarfs functionfs
    fusectl gadgetfs mqueue nfsd nsfs ocfs2_dlmfs openpromfs pidfs proc pstore resctrl rpc_pipefs
    s390_hypfs securityfs selinuxfs smackfs spufs sysfs tracefs xenfs
    """.split()
)
"""File systems that contain no stored files but views of the kernel, of devices and of processes."""

_WITH_HARMLESS = frozenset({"devtmpfs"})  # single harmless devices of it may be mounted
_HARMLESS = tuple(os.makedev(device.major, device.minor) for device in device_nodes.DEFAULT)
_SEARCH = (
    f" {' '.join(sorted(KERNEL_FILE_SYSTEMS - _WITH_HARMLESS))} ",
    f" {' '.join(sorted(_WITH_HARMLESS))} ",
    struct.pack(f"={len(_HARMLESS)}Q", *_HARMLESS),
)
_SEEN = {
    "kernel_view": "{type}",
    "device": "a device",
    "block_device": "a block device",
    "look": "it cannot be checked ({error}), {type}",
}


def removing(asked: tuple[str, ...]) -> Instruction:
    """Remove every view of the kernel from a container's root. /proc must still be the host's.

    asked: the destinations of the spec's mounts. Views below one of them are unmounted; a mount of the spec that is
    itself a view is refused.
    """
    return instruction("remove_kernel_views", *_SEARCH, *asked)


def checking() -> Instruction:
    """Check again: refuse a view of the kernel that was mounted since."""
    return instruction("check_kernel_views", *_SEARCH)


def refusal(failed: Failure) -> PermissionDenied | None:
    """The error that names the refused mount; None for another failure."""
    if failed.stage not in _SEEN:
        return None
    kind, _, path = failed.detail.partition(" ")
    view = _SEEN[failed.stage].format(type=kind, error=failed.strerror)
    path = os.fsdecode(mountinfo.unescaped(os.fsencode(path)))
    return PermissionDenied(f"mount on {path!r}: {view}: a Wasm guest could access its own engine by it")
