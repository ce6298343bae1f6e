"""Kernel parameters that belong to a namespace.

Source: proc_sys(5), namespaces(7). The parameters of each namespace are those of runc.
"""

from __future__ import annotations

from pelagos_core.errors import InvalidArgument

_OF_IPC = frozenset(
    f"kernel/{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)


def namespace_of(name: str) -> str:
    """The type of the namespace that a parameter belongs to.

    Raises InvalidArgument for a parameter of the whole host, or an invalid name.
    """
    path = _path(name)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise InvalidArgument(f"linux.sysctl: {name!r} is not the name of a parameter")
    if path in _OF_IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path == "kernel/domainname":
        return "uts"
    if path == "kernel/hostname":
        raise InvalidArgument(f"linux.sysctl: {name}: use the spec's `hostname`")
    raise InvalidArgument(f"linux.sysctl: {name!r} belongs to no namespace, it would change the host")


def file_of(name: str) -> str:
    """The file of a parameter in the host's /proc; it applies to the namespaces of the writing process."""
    return f"/proc/sys/{_path(name)}"


def _path(name: str) -> str:
    """The path of a name. sysctl(8): the first of `.` and `/` is the separator; the other is part of a name."""
    dot, slash = name.find("."), name.find("/")
    if dot < 0 or 0 <= slash < dot:
        return name
    return name.translate({ord("."): "/", ord("/"): "."})
