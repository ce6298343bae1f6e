"""The state of a process, from /proc/PID/stat and /proc/PID/status. Source: proc(5)."""

from __future__ import annotations

_FIRST = 3  # proc(5) numbers the fields from one; this is the first after the name
_STATE, _PARENT, _FLAGS = (number - _FIRST for number in (3, 4, 9))
_PF_EXITING = 0x4  # include/linux/sched.h
_ENDED = (b"Z", b"X")


def is_exiting(pid: int) -> bool:
    """Whether a process has ended, reaped or not, or is about to end."""
    try:
        fields = _fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return fields[_STATE] in _ENDED or bool(int(fields[_FLAGS]) & _PF_EXITING)


def parent(pid: int) -> int:
    """The pid of a process' parent. Raises OSError if there is no such process."""
    return int(_fields(pid)[_PARENT])


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal: proc(5), /proc/PID/status. False once it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next((line for line in file if line.startswith(b"SigCgt:")), b"SigCgt: 0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(caught.split()[1], 16) >> (signum - 1) & 1)


def _fields(pid: int) -> list[bytes]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name is in parentheses, and may contain spaces and parentheses.
        return file.read().rpartition(b")")[2].split()
