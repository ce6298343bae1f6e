"""`delete`: remove what a dead daemon has left of one container. Lean, idempotent.

containerd also executes it at every normal teardown, when nothing is left, and for one container while the daemon
still serves others. So it removes only what the bundle's record names, and kills a process only if its start time
equals the recorded one.
"""

import _signal  # type: ignore[import-not-found]  # `signal` costs an enum; private, so not in typeshed
import os
import time

from pelagos_core.shim import record
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.flags import Flags
from pelagos_core.shim.group import group_in
from pelagos_core.shim.identifier import check_id
from pelagos_core.shim.unix_socket import Lock, is_served

KILLED = 137
_SECONDS = 3.0  # containerd's limit for the whole program is five seconds


def delete(flags: Flags) -> bytes:
    """Clean up. Returns the bytes of the DeleteResponse to print. In the `delete` process.

    Raises PelagosError for an invalid id. Missing files and processes are ignored.
    """
    check_id(flags.id)
    bundle = flags.bundle or os.getcwd()
    cgroups, processes, init = record.read(bundle)
    for pid, start_time in processes:
        _kill(pid, start_time)
    if _removed(cgroups):
        record.remove(bundle)
    _remove_dead_socket(flags, bundle)
    return encode_response(init, KILLED, time.time_ns())


def _remove_dead_socket(flags: Flags, bundle: str) -> None:
    """Remove the socket of the container's group if no daemon listens on it."""
    path = socket_path(flags.address, flags.namespace, group_in(bundle, flags.id))
    if not os.path.exists(path):
        return
    with Lock(path):
        # Checked again with the lock: a concurrent `delete` for another container may have removed it.
        if os.path.exists(path) and not is_served(path):
            os.unlink(path)


def _kill(pid: int, start_time: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Compared after the pidfd is open: it prevents a reuse of the pid.
        if start_time and record.start_time(pid) == start_time:
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _removed(cgroups: "list[str]") -> bool:
    deadline = time.monotonic() + _SECONDS
    left = list(cgroups)
    while left:
        left = [path for path in left if not _removed_one(path)]
        if left and time.monotonic() > deadline:
            return False
        if left:
            time.sleep(0.01)
    return True


def _removed_one(path: str) -> bool:
    """Kill the processes of a group and remove it, with all groups below."""
    tree = [path]
    for each in tree:
        _kill_group(each)
        try:
            # The link count of a directory is 2 plus the number of its subdirectories.
            if os.stat(each).st_nlink > 2:
                tree += [entry.path for entry in os.scandir(each) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            pass
    for each in reversed(tree):
        try:
            os.rmdir(each)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _kill_group(path: str) -> None:
    members = _members(path)
    for pid in members:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            # Read again: the open pidfd prevents a reuse of the pid from now on.
            if pid in _members(path):
                _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
    if members:
        for name, thawed in (("freezer.state", b"THAWED"), ("cgroup.freeze", b"0")):
            _write(f"{path}/{name}", thawed)  # on v1 a frozen process does not act on SIGKILL


def _members(path: str) -> "list[int]":
    """The pids of a group, without processes of another pid namespace, which are listed as 0 (cgroups(7))."""
    try:
        with open(f"{path}/cgroup.procs", "rb") as file:
            return [pid for pid in map(int, file) if pid > 0]
    except (OSError, ValueError):
        return []


def _write(path: str, value: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # a file of the other version of control groups
    try:
        os.write(fd, value)
    except OSError:
        pass
    finally:
        os.close(fd)


def encode_response(pid: int, status: int, nanoseconds: int) -> bytes:
    """Encode a containerd.task.v2.DeleteResponse without protobuf, whose import takes longer than all of `delete`.

    Fields: 1 pid, 2 exit_status, 3 exited_at (a message: 1 seconds, 2 nanos).
    """
    time_fields = _number(1, nanoseconds // 10**9) + _number(2, nanoseconds % 10**9)
    return _number(1, pid) + _number(2, status) + b"\x1a" + bytes([len(time_fields)]) + time_fields


def _number(field: int, value: int) -> bytes:
    """Encode a varint field; proto3 omits zeros."""
    return bytes([field << 3]) + _varint(value) if value else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
