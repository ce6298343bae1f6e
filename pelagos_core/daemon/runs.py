"""The records of `pelagos run`: one directory for each container, below a directory of its user.

    PLACE/run-0123abcd/     mode 0700
        alive               a FIFO: the command holds it open for writing, its daemon for reading
        run.json            the record, see `Run`; replaced by a rename, never written in place
        bundle/ …           the bundle and sockets of the command and its daemon

The kernel closes the FIFO whenever a process ends, also by SIGKILL. So the daemon reads end of file when its command
has ended, and a directory whose FIFO has no reader is abandoned. The command opens the FIFO for reading too, since
there is no daemon at first. For a detached run the daemon opens it for writing too, before the command ends. When a
detached run has ended, its record and its output stay until `pelagos rm`; the rest of its directory is removed. The
output is a file on a disk (`output_path`): its size is not limited, and /run is memory that the whole node needs.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from pelagos_core.errors import AlreadyExists, NotFound, PermissionDenied
from pelagos_core.shim.unix_socket import Lock

SERVICE = "pelagos.v1.Runs"
ROOTS = "/run/pelagos/runs"
PREFIX = "run-"
ALIVE = "alive"
_OUTPUTS = "/var/log/pelagos"
_RECORD = "run.json"
_MAX_BYTES = 1 << 20


class Run(NamedTuple):
    """One container of `pelagos run`, as recorded by its command.

    id: of the container and its directory. pid: of the command. command: MODULE or ROOTFS and ARGS.
    started: seconds since the epoch, UTC. address: the daemon's socket, empty before there is one.
    backend: its name, empty before one is chosen. name: the user's name for it, or empty.
    is_detached: whether it continues without its command. is_removed: whether its record is removed when it has ended.
    ended: seconds since the epoch, 0 before its end. exit_code: valid once it has ended.
    """

    id: str
    pid: int
    command: tuple[str, ...]
    started: float
    address: str = ""
    backend: str = ""
    name: str = ""
    is_detached: bool = False
    is_removed: bool = True
    ended: float = 0.0
    exit_code: int = 0


def new(command: tuple[str, ...], *, name: str = "", is_detached: bool = False, is_removed: bool = True) -> Run:
    """A run by this process that begins now, with a new id."""
    run_id = f"{PREFIX}{os.urandom(4).hex()}"
    return Run(run_id, os.getpid(), command, time.time(), "", "", name, is_detached, is_removed)


def places(uid: int) -> list[str]:
    """The directories that may contain the runs of a user, the preferred one first.

    uid: of the user, outside of any user namespace that the command creates. The runtime directory of a
    login session is not used: it is removed at logout, and its size is a tenth of the memory.
    """
    own = [f"{parent}/pelagos-{uid}" for parent in _temporary()]
    return [*([ROOTS] if uid == 0 else []), *own]


def _temporary() -> list[str]:
    """The directories for temporary files, as in `tempfile`, whose import takes 5 ms."""
    named = filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP")))
    directories = dict.fromkeys(map(os.path.abspath, (*named, "/tmp", "/var/tmp")))  # noqa: S108 (checked)
    return [directory for directory in directories if os.path.isdir(directory)]


def usable_place(uid: int) -> str:
    """The first usable place; created if it is missing. In the command.

    Raises PermissionDenied that names the last one that was tried.
    """
    refused = ""
    for place in places(uid):
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700)
            if _is_own(place) and os.access(place, os.W_OK | os.X_OK):
                return place
            refused = f"directory {place!r} belongs to another user or can be written by others"
        except OSError as error:
            refused = f"directory {place!r} cannot be created: {error.strerror}"
    raise PermissionDenied(refused)


def make(place: str, run: Run) -> tuple[str, int]:
    """Create the directory of a run in `place`; return its path, and the descriptor of its FIFO to keep open.

    Raises AlreadyExists if another run has its name, or OSError; no directory is left then.
    """
    directory = os.path.join(place, run.id)
    with Lock(directory):  # `abandoned` takes it too, so it finds no directory whose FIFO is not created yet
        _check_name(place, run.name)
        os.mkdir(directory, 0o700)
        try:
            alive = os.path.join(directory, ALIVE)
            os.mkfifo(alive, 0o600)
            record(directory, run)
            return directory, keep_open(directory)
        except BaseException:
            remove(directory)
            raise


def keep_open(directory: str) -> int:
    """Open a run's FIFO for writing and reading. Returns the descriptor; the caller closes it. Raises OSError."""
    # O_RDWR: opening one end only would wait for the other end, or fail (fifo(7)).
    return os.open(os.path.join(directory, ALIVE), os.O_RDWR | os.O_CLOEXEC)


def _check_name(place: str, name: str) -> None:
    if not name:
        return
    with contextlib.suppress(OSError):
        for directory in _in(place):
            other = _read(directory)
            if other and other.name == name and (other.ended or _is_alive(directory)):
                raise AlreadyExists(
                    f"name {name!r} is in use by container {other.id!r}: `pelagos rm` it, or choose another"
                )


def record(directory: str, run: Run) -> None:
    """Write the record of a run by a rename: another process reads the old text or the new one."""
    path = os.path.join(directory, _RECORD)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(run._asdict()))  # not json.dump, which does not use the encoder in C
    os.rename(f"{path}.new", path)


def listed(uid: int, *, ended: bool = False) -> list[Run]:
    """The runs of a user, the oldest first. ended: whether to include ended runs whose records are kept.

    A run that is not recorded yet is not included.
    """
    read = ((_read(directory), directory) for directory in _directories(uid))
    found = [run for run, directory in read if run and (ended if run.ended else _is_alive(directory))]
    return sorted(found, key=lambda run: run.started)


def find(uid: int, name: str, *, ended: bool = False) -> Run:
    """The run with this id or name, or the only one whose id has this prefix. ended: as `listed`. Raises NotFound."""
    known = listed(uid, ended=ended) if name else []
    exact = [run for run in known if name in (run.id, run.name)]
    found = exact or [run for run in known if run.id.startswith((name, f"{PREFIX}{name}"))]
    if len(found) != 1:
        text = "is the beginning of several ids" if found else "does not exist"
        raise NotFound(f"container {name!r} {text}: `pelagos ps -a` lists yours")
    return found[0]


def directory_of(uid: int, run: Run) -> str:
    """The directory of a run from `listed`. Raises NotFound if it has been removed meanwhile."""
    for directory in _directories(uid):
        if os.path.basename(directory) == run.id:
            return directory
    raise NotFound(f"container {run.id!r} has been removed")


def abandoned(uid: int) -> list[str]:
    """The directories of runs whose command and daemon have both ended, before the run was recorded as ended."""
    found = []
    for place in filter(_is_own, places(uid)):
        with Lock(f"{place}/any"), contextlib.suppress(OSError):
            found += [path for path in _in(place) if not _is_alive(path) and not is_kept(path)]
    return found


def is_kept(directory: str) -> bool:
    """Whether it is the directory of an ended run, whose record is kept."""
    run = _read(directory)
    return bool(run and run.ended)


def end(directory: str, ended: float, exit_code: int) -> None:
    """Record the end of a detached run, and remove everything in its directory but the record and the output.

    In the daemon. ended: seconds since the epoch. An OSError is ignored: the run then counts as abandoned.
    """
    run = _read(directory)
    if run is None or run.is_removed:
        remove(directory)
        return
    with contextlib.suppress(OSError):
        record(directory, run._replace(ended=ended, exit_code=exit_code))
        import shutil  # as in `remove`

        kept = {_RECORD, os.path.basename(output_path(directory))}
        for name in os.listdir(directory):
            if name not in kept:
                path = os.path.join(directory, name)
                shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)


def remove(directory: str) -> None:
    """Remove the directory of a run, and its output. It contains no mounts: they are in the container's namespace."""
    import shutil  # not at the top: a command needs it only if a daemon was killed

    with contextlib.suppress(OSError):
        os.unlink(output_path(directory))
    shutil.rmtree(directory, ignore_errors=True)


def output_path(directory: str) -> str:
    """The file for a detached run's output: for root below /var/log, for other users in the run's directory."""
    if os.path.dirname(directory) == ROOTS:
        return os.path.join(_OUTPUTS, f"{os.path.basename(directory)}.log")
    return os.path.join(directory, "output")


def make_output(directory: str) -> str:
    """Create that file, which only its user can read. Returns its path. In the command. Raises OSError."""
    path = output_path(directory)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.dirname(path) == _OUTPUTS:
        _remove_old_outputs()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return path


def _remove_old_outputs() -> None:
    """Remove the outputs of runs without a record, for example after a reboot."""
    with contextlib.suppress(OSError):
        for name in os.listdir(_OUTPUTS):
            if name.startswith(PREFIX) and not os.path.exists(os.path.join(ROOTS, name.removesuffix(".log"))):
                os.unlink(os.path.join(_OUTPUTS, name))


def _directories(uid: int) -> Iterator[str]:
    for place in filter(_is_own, places(uid)):
        with contextlib.suppress(OSError):
            yield from _in(place)


def _in(place: str) -> list[str]:
    with os.scandir(place) as entries:
        return [entry.path for entry in entries if entry.name.startswith(PREFIX)]


def _is_own(place: str) -> bool:
    """Whether it is a directory that only this user can write to: every user can create one in /tmp."""
    try:
        status = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _is_alive(directory: str) -> bool:
    """Whether its command or its daemon runs: open(2) fails with ENXIO if no process has the FIFO open for reading."""
    try:
        os.close(os.open(os.path.join(directory, ALIVE), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR)
    return True


def _read(directory: str) -> Run | None:
    try:
        with open(os.path.join(directory, _RECORD), encoding="utf-8") as file:
            table = json.loads(file.read(_MAX_BYTES))
        known = {name: table[name] for name in Run._fields if name in table}
        return Run(**{**known, "command": tuple(table["command"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
