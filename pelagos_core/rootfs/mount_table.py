"""The mounts of a process, as the kernel lists them, and which of them show the kernel itself.

Source: proc(5), /proc/PID/mountinfo.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pelagos_core.linux import mountinfo
from pelagos_core.rootfs import device_nodes

KERNEL_FILE_SYSTEMS = frozenset(
    """
    binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devpts devtmpfs efivarfs functionfs
    fusectl gadgetfs mqueue nfsd nsfs ocfs2_dlmfs openpromfs pidfs proc pstore resctrl rpc_pipefs
    s390_hypfs securityfs selinuxfs smackfs spufs sysfs tracefs xenfs
    """.split()
)
"""File systems that hold no files of anybody but views of the kernel, its devices and processes."""

_WITHOUT_HARMLESS = KERNEL_FILE_SYSTEMS - {"devtmpfs"}
_HARMLESS = frozenset(os.makedev(device.major, device.minor) for device in device_nodes.DEFAULT)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One mount. path: where it is; root: which part of its file system is shown there.

    hidden: whether other mounts cover it, so that no path leads into it.
    """

    path: str
    root: str
    type: str
    hidden: bool = False

    def view(self, look: Callable[[str], os.stat_result] = os.lstat) -> str:
        """What it shows of the kernel: a file system's type, or a device; empty for nothing.

        look: returns the status of what is at a path, or raises OSError.
        """
        # By its type alone where that is enough: what lies at the path may be another mount on top,
        # or have been moved by a process that shares the directory.
        if self.type in _WITHOUT_HARMLESS:
            return self.type
        if self.hidden and self.type not in KERNEL_FILE_SYSTEMS:
            # No path leads there, so it cannot be looked at either. Should another container that
            # shares a directory move it into sight, it shows files: no device is opened through a mount that was hidden
            # when devices were forbidden.
            return ""
        if self.root != "/":  # a whole file system is a directory
            try:
                status = look(self.path)
            except OSError as error:
                return f"it cannot be looked at ({error.strerror}), {self.type}"
            if stat.S_ISBLK(status.st_mode):
                return "a block device"
            if stat.S_ISCHR(status.st_mode):
                return "" if status.st_rdev in _HARMLESS else "a device"
        return self.type if self.type in KERNEL_FILE_SYSTEMS else ""


def read(proc: int, top: str = "/") -> tuple[MountPoint, ...]:
    """The mounts of the calling process' namespace at and below a path, those further down later.

    proc: a descriptor of its directory in a /proc, which need not be in its reach any more.
    """
    # Opened anew each time: what it shows are the mounts of its opener's namespace.
    with open(os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb") as file:
        return parse(file.read(), top)


def parse(text: bytes, top: str = "/") -> tuple[MountPoint, ...]:
    """The mounts of a mountinfo text at and below a path."""
    below = f"{top.rstrip('/')}/"
    # A host has many and a container few: most lines are passed over at a glance, unless the
    # path is one that is written in another way there.
    glance = b"" if any(character in top for character in " \t\n\\") else os.fsencode(top)
    found: dict[int, tuple[int, MountPoint]] = {}
    for line in mountinfo.parse(text, glance):
        if line.path == top or line.path.startswith(below):
            found[line.number] = line.parent, MountPoint(line.path, line.root, line.type)
    hidden = _hidden({number: (parent, mount.path) for number, (parent, mount) in found.items()})
    return tuple(replace(mount, hidden=True) if number in hidden else mount for number, (_, mount) in found.items())


def _hidden(mounts: dict[int, tuple[int, str]]) -> set[int]:
    """The mounts that others cover.

    mounts: of each, by its number, the number of the one that it is mounted on, and its path.
    A walk along a path goes over to what is mounted on a directory as soon as it comes to it, and on the
    root of that to what is mounted there. Mounts may be on one another by thousands: no recursion.
    """
    covers = set(mounts.values())
    reached: dict[int, bool] = {}
    for mount in mounts:
        undecided: list[int] = []
        number = mount
        while number in mounts and number not in reached:
            reached[number] = True  # a mount namespace's first mount may be its own parent
            undecided.append(number)
            number = mounts[number][0]
        for each in reversed(undecided):
            parent, path = mounts[each]
            way = _above(path, mounts[parent][1] if parent in mounts else "/")
            reached[each] = reached.get(parent, True) and not any((parent, above) in covers for above in way)
    return {number for number, (_, path) in mounts.items() if (number, path) in covers or not reached[number]}


def _above(path: str, top: str) -> Iterator[str]:
    """The directories that a path is in, up to `top`."""
    while len(path) > len(top):
        path = posixpath.dirname(path)
        yield path
