"""Opens, checks and copies the MODULE of `pelagos run` and `pelagos pack`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.config import size
from pelagos_core.errors import InvalidArgument, NotFound, ResourceExhausted
from pelagos_core.plugin.kind import Kind, kind_of

MAX_BYTES = 1 << 30
"""The largest module that is copied, in bytes. The largest known modules have about 100 MiB."""

_CHUNK = 8 << 20
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_OSABI = 7  # in e_ident, elf(5)
_OSABIS = frozenset(
    {b"\0", b"\3"}
)  # of Linux programs: System V and GNU. Engines mark what they have compiled by another


_ADVICE = "to run one, give a root file system that holds it, `run ROOTFS PATH`"


def open_module(path: str, advice: str = _ADVICE) -> int:
    """Open a module for reading; return a descriptor, which the caller closes. Runs in the command.

    advice: for the error about a native program. Does not block on a FIFO. Raises NotFound or InvalidArgument; the
    message names the file.
    """
    what = f"module {path!r}"
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{what} does not exist", reasons.ENTRYPOINT) from None
    except (OSError, ValueError) as error:  # ENXIO of a socket; a NUL byte
        raise InvalidArgument(f"{what}: {getattr(error, 'strerror', error)}", reasons.ENTRYPOINT) from None
    try:
        _check(what, file, advice)
    except BaseException:
        os.close(file)
        raise
    return file


def read_stream(stream: int, advice: str = _ADVICE) -> int:
    """Read a module from a stream, such as standard input, until its end; return a descriptor of a memory file.

    advice: as in `open_module`. Raises InvalidArgument if the stream is a terminal, empty or larger than MAX_BYTES.
    """
    what = "module on standard input"
    if os.isatty(stream):
        raise InvalidArgument(f"{what}: it is a terminal: give a file, or pipe one in", reasons.ENTRYPOINT)
    file = os.memfd_create("module", os.MFD_CLOEXEC)
    try:
        length = 0
        while chunk := os.read(stream, _CHUNK):
            length += len(chunk)
            if length > MAX_BYTES:
                raise _too_large(what, length)
            while chunk:
                chunk = chunk[os.write(file, chunk) :]
        if not length:
            raise InvalidArgument(f"{what}: there is none", reasons.ENTRYPOINT)
        _check(what, file, advice)
    except BaseException:
        os.close(file)
        raise
    return file


def _check(what: str, file: int, advice: str) -> None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        found = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else")
        raise InvalidArgument(f"{what} is {found}, not a regular file", reasons.ENTRYPOINT)
    if status.st_size > MAX_BYTES:
        raise _too_large(what, status.st_size)
    kind = kind_of(file)
    if kind.is_native:
        raise InvalidArgument(f"{what} is {_native(kind, file, advice)}", reasons.ENTRYPOINT)


def _native(kind: Kind, file: int, advice: str) -> str:
    if kind is Kind.ELF and os.pread(file, 1, _OSABI) not in _OSABIS:
        return "code that an engine has compiled, not a module: give the module that it was compiled from"
    return f"a {kind.value}, not WebAssembly: {advice}"


def _too_large(what: str, length: int) -> InvalidArgument:
    text = f"{what} has {size.describe(length)}: more than {size.describe(MAX_BYTES)} are not taken"
    return InvalidArgument(text, reasons.ENTRYPOINT)


def copy(source: int, target: str, what: str, look: Callable[[], None]) -> None:
    """Copy a module, so that it cannot change while its engine reads it.

    source: from `open_module`. target: a path that does not exist yet. what: the module, for errors.
    look: called between pieces, to handle events; an exception of it ends the copy.
    Raises InvalidArgument if it has grown beyond the limit, ResourceExhausted if the disk is full.
    """
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    copied = 0
    try:
        while chunk := os.sendfile(made, source, copied, _CHUNK):
            copied += chunk
            if copied > MAX_BYTES:
                raise _too_large(what, copied)
            look()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ResourceExhausted(f"{what} cannot be copied to {os.path.dirname(target)!r}: {error.strerror}") from None
    finally:
        os.close(made)
