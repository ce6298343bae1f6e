"""The native part of a backend: the check before it is loaded."""

from __future__ import annotations

import os
import stat

from pelagos_core import ownership
from pelagos_core.errors import FailedPrecondition
from pelagos_core.plugin.hookspecs import NativePart


def checked(answer: object) -> NativePart:
    """Return a backend's answer, if its files may be loaded by a process of this user. In any process.

    Raises FailedPrecondition, TypeError, OSError.
    """
    if not isinstance(answer, NativePart):
        raise TypeError(f"native returned {type(answer).__name__}, not a NativePart")
    if not isinstance(answer.settings, str) or "\0" in answer.settings:
        raise TypeError(f"native: settings {answer.settings!r} are not a text")
    for path in (answer.library, answer.engine):
        _check_file(path)
    return answer


def _check_file(path: str) -> None:
    if not os.path.isabs(path):
        raise FailedPrecondition(f"{path!r} is not an absolute path")
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
    finally:
        os.close(file)
    if not stat.S_ISREG(status.st_mode):
        raise FailedPrecondition(f"{path!r} is not a regular file")
    if not ownership.is_written_by(status, 0, os.geteuid()):
        raise FailedPrecondition(f"{path!r} belongs to another user or can be written by others")
