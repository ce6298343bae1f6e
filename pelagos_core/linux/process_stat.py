"""The kernel's line of numbers about a process: proc(5), /proc/PID/stat."""

from __future__ import annotations

_FIRST = 3  # proc(5) counts from one; the fields behind the name begin with this one
_STATE, _FLAGS = (number - _FIRST for number in (3, 9))
_PF_EXITING = 0x4  # include/linux/sched.h
_ENDED = (b"Z", b"X")


def is_leaving(pid: int) -> bool:
    """Whether a process has ended, reaped or not, or is about to end."""
    try:
        fields = _fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return fields[_STATE] in _ENDED or bool(int(fields[_FLAGS]) & _PF_EXITING)


def _fields(pid: int) -> list[bytes]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name comes in brackets, and may hold spaces and brackets.
        return file.read().rpartition(b")")[2].split()
