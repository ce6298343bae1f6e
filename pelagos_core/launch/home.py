"""HOME of a native program whose spec sets none: from the container's /etc/passwd, as in runc.

Source: passwd(5). In the init process, before the root is changed. The file comes from the image, so
its content is not trusted; it can only name a directory.
"""

from __future__ import annotations

import os
import stat

from pelagos_core.linux.descriptor import Fd
from pelagos_core.rootfs.root import Root

USERS = "/etc/passwd"
_DEFAULT = "/"
MAX_BYTES = 1 << 20
_MAX_HOME = 4096  # PATH_MAX
_UID, _HOME = 2, 5


def completed(env: tuple[str, ...], root: Root, uid: int) -> tuple[str, ...]:
    """The variables, with HOME added if it is missing or empty.

    env: `NAME=VALUE` strings, each name once. uid: the user's id inside the container.
    """
    return with_home(env, _home(root, uid)) if is_missing(env) else env


def is_missing(env: tuple[str, ...]) -> bool:
    """Whether HOME is missing or empty."""
    return not any(variable.startswith("HOME=") and variable != "HOME=" for variable in env)


def with_home(env: tuple[str, ...], home: str) -> tuple[str, ...]:
    """The variables, with HOME set to `home`."""
    return (*(variable for variable in env if variable != "HOME="), f"HOME={home}")


def _home(root: Root, uid: int) -> str:
    try:
        return find(_read(root), uid)
    except OSError:  # no such file, as in an image with one static program
        return _DEFAULT


def find(passwd: bytes, uid: int) -> str:
    """The home directory in the first entry of a user; `/` if there is none, or it is not usable as a path."""
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(fields) <= _HOME or fields[_UID] != b"%d" % uid:
            continue
        home = fields[_HOME]
        usable = home.startswith(b"/") and b"\0" not in home and len(home) < _MAX_HOME
        try:
            return home.decode() if usable else _DEFAULT
        except UnicodeDecodeError:
            return _DEFAULT
    return _DEFAULT


def _read(root: Root) -> bytes:
    with Fd(root.open(USERS, os.O_PATH)) as found:
        # Checked on an O_PATH descriptor first: opening a FIFO waits, opening a device may have any effect.
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return b""
        with open(f"/proc/self/fd/{found}", "rb", buffering=0) as file:
            return file.read(MAX_BYTES) or b""
