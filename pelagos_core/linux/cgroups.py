"""Control groups, v1, v2 and hybrid: one container's group in each hierarchy.

Source: cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, OCI runtime spec
"Cgroups Path". The path's shape tells cgroupfs (`/a/b`) from systemd (`slice:prefix:name`),
so that no setting can drift from what containerd does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from dataclasses import dataclass

from pelagos_core.errors import FailedPrecondition, InvalidArgument, PermissionDenied

DEFAULT_PARENT = "/pelagos"

_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")  # proc(5): mountinfo writes a space as \040


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy: where, and which v1 controllers (none for v2)."""

    mount_point: str
    controllers: frozenset[str]


def parse_mountinfo(text: str) -> tuple[Hierarchy, ...]:
    """The hierarchies in a /proc/PID/mountinfo: the v1 ones if there are any, else v2.

    In hybrid mode limits are v1's; the v2 mount beside them has no controllers.
    """
    v1, v2 = [], []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        where = _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), head.split(" ")[4])
        if kind == "cgroup":
            known = {option for option in options.split(",") if option not in ("rw", "ro")}
            v1.append(Hierarchy(where, frozenset(known)))
        elif kind == "cgroup2":
            v2.append(Hierarchy(where, frozenset()))
    return tuple(v1 or v2[:1])


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies of this host."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def relative_path(cgroups_path: str, name: str) -> str:
    """The group's path below each hierarchy's mount point, starting with a slash.

    cgroups_path: `linux.cgroupsPath`. name: the group's name in `/pelagos` if it is empty.
    """
    if not cgroups_path:
        return f"{DEFAULT_PARENT}/{name}"
    if cgroups_path.count(":") == 2 and "/" not in cgroups_path:
        slice_name, prefix, unit = cgroups_path.split(":")
        if not unit.endswith(".slice"):
            unit = f"{prefix}-{unit}.scope" if prefix else f"{unit}.scope"
        return f"{_slice_path(slice_name or 'system.slice')}/{unit}"
    path = "/" + "/".join(part for part in cgroups_path.split("/") if part not in ("", "."))
    if path == "/":
        raise InvalidArgument("linux.cgroupsPath: '/' is the host's own group")
    return path


def _slice_path(name: str) -> str:
    """systemd.slice(5): `a-b.slice` lies in `a.slice`; `-.slice` is the root."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    if stem == name or not all(stem.split("-")):
        raise InvalidArgument(f"linux.cgroupsPath: {name!r} is not a systemd slice")
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One container's group: its directory in each hierarchy."""

    paths: tuple[str, ...]

    @classmethod
    def of(cls, cgroups_path: str, name: str) -> Cgroup:
        """Where the container's group is on this host; nothing is made yet.

        A spec that asks for no group gets none where we may not make one (without root).
        """
        relative = relative_path(cgroups_path, name)
        found = [item for item in hierarchies() if cgroups_path or os.access(item.mount_point, os.W_OK)]
        return cls(tuple(item.mount_point + relative for item in found))

    def check_unused(self) -> None:
        """Raises FailedPrecondition if processes live in it: they are not ours to kill."""
        if self.processes():
            raise FailedPrecondition(f"cgroup {self.paths[0]!r} is in use by other processes")

    def create(self) -> None:
        """Make the directories. In the daemon, which also removes them."""
        for path in self.paths:
            try:
                _make(path)
            except OSError as error:
                raise PermissionDenied(f"cgroup {path!r}: {error.strerror}") from None

    def join(self) -> None:
        """Move the calling process in, in every hierarchy."""
        for path in self.paths:
            try:
                _write(path, "cgroup.procs", "0")  # 0 is the writer itself
            except OSError as error:
                raise PermissionDenied(f"cgroup {path!r}: cannot join: {error.strerror}") from None

    def processes(self) -> list[int]:
        """The ids of all processes in the group."""
        for path in self.paths:
            try:
                with open(os.path.join(path, "cgroup.procs"), encoding="ascii") as file:
                    return [int(line) for line in file]
            except FileNotFoundError:
                continue
        return []

    def kill(self, signum: int) -> None:
        """Send a signal to every process of the group."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def try_remove(self) -> bool:
        """Kill what is left in it and remove the directories; missing ones are no error.

        Returns False if one is still busy, as a group is for a moment after its last
        process was reaped: try again a little later.
        """
        self.kill(signal.SIGKILL)
        busy = [path for path in self.paths if not _removed(path)]
        return not busy


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileNotFoundError:
        _make(os.path.dirname(path))
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    _inherit_cpuset(path)


def _inherit_cpuset(path: str) -> None:
    """cpusets.rst: a new v1 cpuset is empty, and no process can join an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = os.path.join(path, name)
        if os.path.exists(own) and not _read(own):
            _write(path, name, _read(os.path.join(os.path.dirname(path), name)))


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _write(directory: str, name: str, value: str) -> None:
    fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)
