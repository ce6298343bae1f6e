"""Where a path leads inside a root, link by link: also to what is not there yet.

openat2(2) follows links inside a root itself, but gives up at one that dangles, and does not tell
which links it has followed. Source: openat2(2), symlink(7), path_resolution(7).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from pelagos_core.linux import syscalls
from pelagos_core.linux.descriptor import Fd

RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
"""How a path of a container is resolved: an absolute link or `..` stays inside, a magic link is refused."""

WITHOUT_LINKS = RESOLVE | syscalls.RESOLVE_NO_SYMLINKS

_ENTRY = os.O_PATH | os.O_NOFOLLOW
_MAX_LINKS = 40  # as many as the kernel follows
_MAX_NAMES = 4096  # a hostile image's links may have 2000 names each


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link. path: its own, without a link in it. target: what it says."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Walk:
    """path: where it led, absolute and without a link or `..`, whether that is there or not.

    links: what was followed on the way, in order.
    """

    path: str
    links: tuple[Link, ...]


def walk(root: int, path: str) -> Walk:
    """Follow a path inside the directory behind a descriptor; nothing is changed.

    Raises OSError: ELOOP for more links than the kernel would follow.
    """
    names = path.split("/")[::-1]
    found: list[str] = []
    links: list[Link] = []
    for _ in range(_MAX_NAMES):
        if not names:
            return Walk(f"/{'/'.join(found)}", tuple(links))
        name = names.pop()
        if name == "..":
            del found[-1:]
        elif name not in ("", "."):
            found.append(name)
            here = "/".join(found)
            target = _target(root, here)
            if target is not None:
                links.append(Link(f"/{here}", target))
                if len(links) > _MAX_LINKS:
                    break
                del found[0 if target.startswith("/") else -1 :]
                names += target.split("/")[::-1]
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _target(root: int, path: str) -> str | None:
    """What the link at a path says; None if there is no link."""
    try:
        # The path so far has no link in it: if one is put there meanwhile, it is refused.
        fd = Fd(syscalls.openat2(root, path, _ENTRY, WITHOUT_LINKS))
    except FileNotFoundError:
        return None
    with fd:
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
