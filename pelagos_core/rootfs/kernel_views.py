"""What keeps a Wasm guest from its own engine: no mount of its container shows the kernel.

Which file systems and devices that is about, and the words of a refusal. What is looked at, and
how, is in native/process/kernel_views.c.
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
"""File systems that hold no files of anybody but views of the kernel, its devices and processes."""

_WITH_HARMLESS = frozenset({"devtmpfs"})  # of which single devices may be mounted
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
    "look": "it cannot be looked at ({error}), {type}",
}


def removing(asked: tuple[str, ...]) -> Instruction:
    """Take every view of the kernel out of a container's root; /proc is still the host's.

    asked: the paths of the mounts that the spec asks for. Kernel mounts below one of them are
    unmounted; a mount that is one itself is refused.
    """
    return instruction("remove_kernel_views", *_SEARCH, *asked)


def checking() -> Instruction:
    """Look again: what was mounted since is refused if it shows the kernel."""
    return instruction("check_kernel_views", *_SEARCH)


def refusal(failed: Failure) -> PermissionDenied | None:
    """The error that names the mount; None if it was not a mount that has failed."""
    if failed.stage not in _SEEN:
        return None
    kind, _, path = failed.detail.partition(" ")
    view = _SEEN[failed.stage].format(type=kind, error=failed.strerror)
    path = os.fsdecode(mountinfo.unescaped(os.fsencode(path)))
    return PermissionDenied(f"mount on {path!r}: {view}: by that a Wasm guest could reach its own engine")
