"""One container's control group: creation, limits, signals, freezing, removal.

Source: cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pelagos_core.cgroups import control_file, controllers_v1, controllers_v2, device_filter
from pelagos_core.cgroups.control_file import Write
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.cgroups.hierarchies import Hierarchy, hierarchies, relative_path
from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument, PelagosError, PermissionDenied
from pelagos_core.linux import bpf_syscalls
from pelagos_core.linux.descriptor import Fd
from pelagos_core.linux.namespaces import in_user_namespace
from pelagos_core.oci.resources import DeviceRule, Resources

_REFUSALS: dict[int, type[PelagosError]] = {
    errno.EINVAL: InvalidArgument,
    errno.ERANGE: InvalidArgument,
    errno.ENODEV: InvalidArgument,
    errno.EBUSY: FailedPrecondition,
    errno.EOPNOTSUPP: FailedPrecondition,
    errno.EPERM: PermissionDenied,
    errno.EACCES: PermissionDenied,
}

_UNLIMITED_PAGES = (1 << 62) // mmap.PAGESIZE  # on v1 "no limit" is a large number


@dataclass(frozen=True, slots=True)
class Group:
    """The directory of a container's group in one hierarchy. controllers: empty for v2."""

    path: str
    controllers: frozenset[str] = frozenset()
    mount_point: str = ""

    @property
    def unified(self) -> bool:
        """Whether it is in v2's one hierarchy."""
        return not self.controllers


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One container's group: its directory in each hierarchy."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, cgroups_path: str, name: str, mounted: Iterable[Hierarchy] | None = None) -> Cgroup:
        """The container's group on this host; it is not created yet.

        If the spec names no group and this process may not create one (not root), the container has none.
        mounted: the host's hierarchies; None: read them from the mounts. Raises InvalidArgument for an invalid path.
        """
        relative = relative_path(cgroups_path, name)
        found = [item for item in mounted or hierarchies() if cgroups_path or os.access(item.mount_point, os.W_OK)]
        return cls(tuple([Group(item.mount_point + relative, item.controllers, item.mount_point) for item in found]))

    @property
    def paths(self) -> tuple[str, ...]:
        """Its directories."""
        return tuple([group.path for group in self.groups])

    @property
    def unified(self) -> bool:
        """Whether it is a group of cgroup v2."""
        return bool(self.groups) and self.groups[0].unified

    def directory(self, controller: str) -> str | None:
        """The directory of a controller's files; None if the host has no such controller."""
        for group in self.groups:
            if group.unified or controller in group.controllers:
                return group.path
        return None

    @property
    def _memory_limit(self) -> str:
        return "memory.max" if self.unified else "memory.limit_in_bytes"

    @property
    def memory_limit_path(self) -> str | None:
        """The path of the control file of the memory limit; None on a host without a memory controller."""
        directory = self.directory("memory")
        return os.path.join(directory, self._memory_limit) if directory else None

    def open_memory_limit(self) -> int | None:
        """Open the control file of the memory limit. Returns its descriptor, or None if there is none."""
        path = self.memory_limit_path
        if path is None:
            return None
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def changes_memory(self, resources: Resources) -> bool:
        """Whether `resources` would change the memory limit, which the kernel rounds to whole pages."""
        asked = resources.unified.get("memory.max") or str(resources.memory.limit or "")
        if not asked:
            return False
        present, wanted = (_pages(text) for text in (self.read(self._memory_limit), asked))
        return present != wanted

    def read(self, file: str) -> str:
        """The text of a control file; empty if it is missing."""
        directory = self.directory(file.partition(".")[0])
        try:
            return control_file.read(os.path.join(directory, file)) if directory else ""
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                return ""
            raise

    def exists(self) -> bool:
        """Whether its directory exists in the first of its hierarchies."""
        return bool(self.groups) and os.path.isdir(self.groups[0].path)

    def hugepage_sizes(self) -> list[str]:
        """The sizes of huge pages that have control files, such as 2MB."""
        directory = self.directory("hugetlb")
        names = [name.split(".") for name in os.listdir(directory)] if directory else []
        return sorted({words[1] for words in names if words[0] == "hugetlb" and len(words) > 2})

    def check_unused(self) -> None:
        """Raise FailedPrecondition if it contains processes: they are not the container's and must not be killed."""
        # The group of most containers has no directory yet.
        if any(os.access(path, os.F_OK) for path in self.paths) and self.processes():
            raise FailedPrecondition(f"cgroup {self.paths[0]!r} is in use by other processes")

    def create(self, resources: Resources) -> None:
        """Create the directories and set the limits. In the daemon, which also removes them.

        Raises a PelagosError that names the resource that cannot be set.
        """
        for group in self.groups:
            try:
                _make(group)
            except OSError as error:
                raise PermissionDenied(f"cgroup {group.path!r}: {error.strerror}") from None
        if resources.devices is not None:
            self._limit_devices(resources.devices)
        for write in self.writes(resources):
            self._write(write)

    @contextlib.contextmanager
    def updated(self, resources: Resources) -> Iterator[None]:
        """Change the limits of a group in use. A PelagosError in the block restores the former limits.

        Limits that are not given, and device rules, stay unchanged. Raises a PelagosError; then all limits are
        unchanged.
        """
        undos: list[Write] = []
        try:
            for write in self.writes(resources):
                undo = write.undo(self.read(write.file))
                self._write(write)
                undos.append(undo)
            yield
        except PelagosError:
            for undo in reversed(undos):
                with contextlib.suppress(PelagosError):  # the first error is the one to report
                    self._write(undo)
            raise

    def processes(self) -> list[int]:
        """The pids of all processes in the group and in all groups below it."""
        for path in self.paths:
            if os.path.isdir(path):
                return [pid for each in _tree(path) for pid in _processes(each)]
        return []

    def kill(self, signum: int) -> None:
        """Send a signal to every process of the group; SIGKILL also ends frozen processes."""
        if signum == signal.SIGKILL and self._killed_by_kernel():
            return
        processes = self.processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        if processes and signum == signal.SIGKILL:
            self.thaw()

    def freeze(self) -> None:
        """Begin to freeze every process of the group; `is_frozen` returns whether that is complete.

        Raises FailedPrecondition if this host cannot.
        """
        if self.directory("freezer") is None:
            raise FailedPrecondition("cannot pause: this host has no freezer for this user")
        try:
            control_file.write(self._freezer(), "1" if self.unified else "FROZEN")
        except OSError as error:
            raise FailedPrecondition(f"cannot pause: {error.filename}: {error.strerror}") from None

    def thaw(self) -> None:
        """Thaw every process. Does nothing if the group is removed or was never frozen."""
        with contextlib.suppress(OSError):
            control_file.write(self._freezer(), "0" if self.unified else "THAWED")

    def is_frozen(self) -> bool:
        """Whether every process of the group is frozen."""
        if self.unified:
            return "frozen 1" in self.read("cgroup.events").splitlines()
        return self.read("freezer.state") == "FROZEN"

    def try_remove(self) -> bool:
        """Kill the remaining processes and remove the directories, if they exist.

        Returns False if a directory is busy, which it is for a moment after its last process was reaped: call it again
        a little later. Raises OSError for any other error.
        """
        if _are_removed(self.paths):
            return True
        if self.processes():
            self.kill(signal.SIGKILL)
        trees = [_tree(path) for path in self.paths]
        # The innermost first. Each is tried, so that as many as possible are removed.
        gone = [_removed(path) for tree in trees for path in reversed(tree)]
        return all(gone)

    def writes(self, resources: Resources) -> Iterable[Write]:
        """The values for the control files that set `resources`, in order.

        Raises a PelagosError that names a resource that this host's version of control groups lacks.
        """
        if self.unified:
            return controllers_v2.writes(resources, self.read)
        return controllers_v1.writes(resources, self.read)

    def _write(self, write: Write) -> None:
        directory = self.directory(write.controller)
        if directory is None:
            lack = f"no {write.controller} controller" if self.groups else "no control groups for this user"
            raise FailedPrecondition(f"linux.resources.{write.field}: this host has {lack}")
        try:
            control_file.write(os.path.join(directory, write.file), write.value)
        except FileNotFoundError:
            if not write.optional:
                lack = f"this host has no {write.file} in cgroup {directory!r}"
                raise FailedPrecondition(f"linux.resources.{write.field}: {lack}") from None
        except OSError as error:
            refusal = _REFUSALS.get(error.errno or 0, Internal)
            what = f"cgroup {directory!r}: {write.file}: {write.value!r}: {error.strerror}"
            raise refusal(f"linux.resources.{write.field}: {what}") from None

    def _freezer(self) -> str:
        name = "cgroup.freeze" if self.unified else "freezer.state"
        return os.path.join(self.directory("freezer") or "", name)

    def _killed_by_kernel(self) -> bool:
        """Kill all processes by cgroup.kill, which a concurrent fork cannot escape: v2 only, Linux 5.14."""
        if not self.unified:
            return False
        try:
            control_file.write(os.path.join(self.groups[0].path, "cgroup.kill"), "1")
        except OSError:
            return False
        return True

    def _limit_devices(self, rules: Iterable[DeviceRule]) -> None:
        policy = DevicePolicy.of(rules)
        if in_user_namespace():
            return  # mknod(2) fails in a user namespace, and its mounts are nodev
        if not self.unified:
            for write in controllers_v1.device_writes(policy):
                self._write(write)
        elif not policy.is_open:
            self._attach(device_filter.program(policy))

    def _attach(self, program: bytes) -> None:
        with Fd(os.open(self.groups[0].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            try:
                with Fd(bpf_syscalls.load_device_filter(program)) as loaded:
                    bpf_syscalls.attach_device_filter(loaded, directory)
            except OSError as error:
                raise FailedPrecondition(f"linux.resources.devices: {error.filename}: {error.strerror}") from None


def _pages(limit: str) -> int | None:
    """Convert a memory limit to whole pages; None for no limit."""
    pages = int(limit) // mmap.PAGESIZE if limit.isdecimal() else None
    return pages if pages is not None and pages < _UNLIMITED_PAGES else None


def _make(group: Group) -> None:
    try:
        _make_directory(group.path, is_cpuset="cpuset" in group.controllers)
    except FileExistsError:
        pass
    if group.unified:
        _delegate(group)


def _make_directory(path: str, *, is_cpuset: bool) -> None:
    """Create a directory and its missing parents. Raises FileExistsError."""
    try:
        os.mkdir(path, 0o755)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            _make_directory(os.path.dirname(path), is_cpuset=is_cpuset)
        os.mkdir(path, 0o755)
    if is_cpuset:
        _inherit_cpuset(path)


def _inherit_cpuset(path: str) -> None:
    """Copy the parent's values to a new v1 cpuset. cpusets.rst: it is empty, and no process can join an empty one.

    If the parent has `cgroup.clone_children`, the kernel has copied them already: the same values are written again.
    """
    parent = os.path.dirname(path)
    for name in ("cpuset.cpus", "cpuset.mems"):
        control_file.write(f"{path}/{name}", control_file.read(f"{parent}/{name}"))


def _delegate(group: Group) -> None:
    """Enable the host's controllers in all parents. cgroup-v2.rst: a group has those that its parent enables."""
    available = set(control_file.read(os.path.join(group.mount_point, "cgroup.controllers")).split())
    if available <= set(control_file.read(os.path.join(group.path, "cgroup.controllers")).split()):
        return
    path = group.mount_point
    for name in group.path.removeprefix(group.mount_point).strip("/").split("/"):
        file = os.path.join(path, "cgroup.subtree_control")
        missing = available - set(control_file.read(file).split())
        try:
            control_file.write(file, " ".join(f"+{controller}" for controller in sorted(missing)))
        except OSError:
            # One by one: a controller that cannot be enabled must not prevent the others. A limit that needs
            # a missing controller is refused by name.
            for controller in missing:
                with contextlib.suppress(OSError):
                    control_file.write(file, f"+{controller}")
        path = os.path.join(path, name)


def _tree(path: str) -> list[str]:
    """A group and all groups below it, each after its parent. Not recursive: a guest may nest groups deeply."""
    found = [path]
    for each in found:
        # The link count of a directory is 2 plus the number of its subdirectories.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(each).st_nlink > 2:
                with os.scandir(each) as entries:
                    found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return found


def _processes(path: str) -> list[int]:
    try:
        # A process of another pid namespace is listed as 0, which for kill(2) is the caller's process group.
        return [pid for pid in map(int, control_file.read(os.path.join(path, "cgroup.procs")).split()) if pid]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return []  # it is removed, or threaded: then the parent lists its processes
        raise


def _are_removed(paths: Iterable[str]) -> bool:
    """Remove groups that are empty, the usual case. Returns whether all are removed.

    rmdir(2) fails for a group that contains a process or another group, so neither is checked here.
    """
    try:
        return all(_removed(path) for path in paths)
    except OSError:
        return False  # the caller kills its processes and tries again


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
