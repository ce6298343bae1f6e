"""Replaces files of an installation atomically, by rename(2), in directories that no other user can change.

root executes the installed files, and the caller names their directory. So a directory is opened from the root
directory on, one component after another, and each must belong to root or to the caller (path_resolution(7)).
A change is planned first, and shown or applied later; it is refused if the file has changed in between. If the command
is killed, a change is applied either completely or not at all. A killed command may leave a temporary file; the next
command recognises its name and removes it.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pelagos_core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

_LOCK_SECONDS = 30.0  # for another `pelagos` command to end
_LOOK_SECONDS = 0.05
MAX_BYTES = 16 << 20
_TEMPORARY = re.compile(r"\..+\.pelagos-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change of one file.

    path: absolute.
    before, after: its content; None for no file.
    mode: the mode of a new file; an existing file keeps its mode and owner.
    directory: whether the directory is created with the file, or removed with it if it becomes empty.
    force: whether anything except a directory may be replaced.
    """

    path: str
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    directory: bool = False
    force: bool = False

    @property
    def needed(self) -> bool:
        """Whether the change changes anything."""
        return self.before != self.after

    def inverse(self) -> Change:
        """The change that undoes this one."""
        return Change(self.path, self.after, self.before, self.mode, self.directory)

    def diff(self) -> str:
        """The change in the format of `diff -u`; one line if the file is not text."""
        old, new = self.before or b"", self.after or b""
        if b"\0" in old + new:
            return f"Binary file {self.path}: {len(old)} bytes before, {len(new)} after\n"
        before, after = ["/dev/null" if content is None else self.path for content in (self.before, self.after)]
        olds, news = [content.decode(errors="replace").splitlines(keepends=True) for content in (old, new)]
        lines = difflib.unified_diff(olds, news, before, after)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def read(path: str) -> bytes | None:
    """The content of a file that may be replaced; None if it does not exist.

    Raises AlreadyExists if it is not a regular file, for example a link; PermissionDenied if it belongs to another
    user, or every user can write to it, because the administrator may not have written its content.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise AlreadyExists(f"{path!r} is not a regular file") from None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise AlreadyExists(f"{path!r} is not a regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise PermissionDenied(f"file {path!r} belongs to user {status.st_uid}")
        if status.st_mode & stat.S_IWOTH:
            raise PermissionDenied(f"file {path!r} can be written to by every user (chmod o-w)")
        with os.fdopen(os.dup(fd), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(content) > MAX_BYTES:
        raise InvalidArgument(f"file {path!r} is larger than {MAX_BYTES >> 20} MiB")
    return content


def resolve(path: str) -> str:
    """The file to which a path refers, through links that only an administrator can have created.

    Raises PermissionDenied if another user can change the path's directory.
    """
    directory = os.path.dirname(path)
    if os.path.isdir(directory):
        check_directory(directory)
    return os.path.realpath(path)


def check_directory(path: str) -> None:
    """Check that no other user can change a directory's files. Raises NotFound or PermissionDenied that names it."""
    os.close(_open_directory(path))


def check(change: Change) -> None:
    """Check that the change may be made in its directory. Raises NotFound or PermissionDenied that names it."""
    path = os.path.dirname(change.path)
    while change.directory and not os.path.isdir(path):
        path = os.path.dirname(path)
    check_directory(path)


def apply(change: Change) -> None:
    """Apply the change. If it raises PelagosError or OSError, the file is unchanged."""
    directory, name = os.path.split(change.path)
    if change.directory and change.after is not None and not os.path.isdir(directory):
        _make_with_directory(directory, name, change)
        return
    if change.directory and change.after is None and os.listdir(directory) == [name]:
        _remove_with_directory(directory, change)
        return
    with _locked(directory) as fd:
        _compare(change)
        if change.after is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
        else:
            _write(fd, name, change.after, change.mode, keep=not change.force)
        os.fsync(fd)


def sweep(directory: str) -> None:
    """Remove temporary files of a killed command from a directory."""
    with _locked(directory):
        pass


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[int]:
    """Lock a directory against other `pelagos` commands, and remove temporary files that a killed one has left."""
    fd = _open_directory(directory)
    try:
        _lock(fd, directory)
        for name in os.listdir(fd):
            if _TEMPORARY.fullmatch(name):
                _remove(fd, name)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, directory: str) -> None:
    """Wait for the lock of a directory, for a limited time: any user that can open it can hold the lock."""
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                text = f"directory {directory!r} has been locked by another process for {_LOCK_SECONDS:g} s (lslocks)"
                raise FailedPrecondition(text) from None
            time.sleep(_LOOK_SECONDS)


def _remove(directory: int, name: str) -> None:
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(f"/proc/self/fd/{directory}/{name}")  # it follows no link
        else:
            os.unlink(name, dir_fd=directory)


def _compare(change: Change) -> None:
    if not change.force and read(change.path) != change.before:
        raise FailedPrecondition(f"file {change.path!r} has been changed meanwhile: run the command again")


def _make_with_directory(directory: str, name: str, change: Change) -> None:
    """Create a directory with its first file by one rename, so that a killed command leaves no empty directory."""
    parent, last = os.path.split(directory)
    with _locked(parent) as fd:
        temporary = _temporary(last)
        os.mkdir(temporary, 0o755, dir_fd=fd)
        try:
            below = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                _write(below, name, change.after or b"", change.mode, keep=False)
                os.fchmod(below, 0o755)
                os.fsync(below)
            finally:
                os.close(below)
            os.rename(temporary, last, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            _remove(fd, temporary)
            raise
        os.fsync(fd)


def _remove_with_directory(directory: str, change: Change) -> None:
    """Remove a file and its directory by one rename, unless the directory contains another file."""
    parent, last = os.path.split(directory)
    with _locked(parent) as fd:
        _compare(change)
        temporary = _temporary(last)
        os.rename(last, temporary, src_dir_fd=fd, dst_dir_fd=fd)
        if os.listdir(os.path.join(parent, temporary)) == [os.path.basename(change.path)]:
            _remove(fd, temporary)
        else:
            os.rename(temporary, last, src_dir_fd=fd, dst_dir_fd=fd)
            raise FailedPrecondition(f"directory {directory!r} has been changed meanwhile: run the command again")
        os.fsync(fd)


def _open_directory(path: str) -> int:
    """Open a directory that other users can neither write to nor replace."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = [name for name in os.path.realpath(path).split("/") if name]
        _check_owner(fd, "/", last=not names)
        for index, name in enumerate(names):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(name, flags, dir_fd=fd)
            os.close(fd)
            fd = below
            _check_owner(fd, f"/{'/'.join(names[: index + 1])}", last=index + 1 == len(names))
    except FileNotFoundError:
        os.close(fd)
        raise NotFound(f"directory {path!r} does not exist") from None
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise PermissionDenied(f"directory {path!r} cannot be opened: {error.strerror}") from None
        raise
    return fd


def _check_owner(fd: int, path: str, *, last: bool) -> None:
    status = os.fstat(fd)
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionDenied(f"directory {path!r} belongs to user {status.st_uid}, who could replace what is in it")
    # In a sticky directory, only the owner of a file can rename it.
    if status.st_mode & stat.S_IWOTH and (last or not status.st_mode & stat.S_ISVTX):
        raise PermissionDenied(f"directory {path!r} can be written to by every user (chmod o-w)")


def _write(directory: int, name: str, content: bytes, mode: int, *, keep: bool) -> None:
    """Write by rename: containerd may execute or read the file at any moment. keep: see `_take_over`."""
    temporary = _temporary(name)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            _take_over(directory, name, fd, mode, keep=keep)
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _take_over(directory: int, name: str, fd: int, mode: int, *, keep: bool) -> None:
    """Give the new file the attributes of the old one, such as its SELinux label.

    keep: whether to copy the owner and mode too; not after `force`, since the old file may belong to any user.
    """
    try:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        os.fchmod(fd, mode)
        return
    try:
        status = os.fstat(old)
        kept = keep and not mode & stat.S_IXUSR  # a launcher always is executable and belongs to root
        if kept:
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode) if kept else mode)
        for attribute in os.listxattr(old):
            with contextlib.suppress(OSError):
                os.setxattr(fd, attribute, os.getxattr(old, attribute))
    finally:
        os.close(old)


def _temporary(name: str) -> str:
    """A temporary name, for a file before it is renamed into place, or before it is removed."""
    return f".{name}.pelagos-{secrets.token_hex(4)}"
