"""`linux.devices` of the OCI runtime spec."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from pelagos_core.oci.field import Field, kept
from pelagos_core.oci.process import MAX_ID

MODES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_MAX_MAJOR = 2**12 - 1  # the kernel's dev_t: 12 bits and 20
_MAX_MINOR = 2**20 - 1


@dataclass(frozen=True, slots=True)
class Device:
    """One device node or FIFO of a container.

    type: `c` or `u` for a character device, `b` for a block device, `p` for a FIFO.
    mode: permission bits.
    """

    path: str
    type: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@kept
def read_device(device: Field) -> Device:
    """Read one of `linux.devices`. Raises InvalidArgument."""
    kind = device.get("type")
    if kind.text() not in MODES:
        kind.refuse(f"{kind.text()!r} is none of {', '.join(MODES)}")
    path = device.get("path")
    if not path.text().startswith("/"):
        path.refuse(f"{path.text()!r} is not absolute")
    mode = device.get("fileMode")
    return Device(
        path=path.text(),
        type=kind.text(),
        major=device.get("major").number(_MAX_MAJOR),
        minor=device.get("minor").number(_MAX_MINOR),
        # Clients send the file type together with the permissions.
        mode=stat.S_IMODE(mode.number(2**32 - 1)) if mode else 0o666,
        uid=device.get("uid").number(MAX_ID),
        gid=device.get("gid").number(MAX_ID),
    )
