"""What the kernel tells of a process in its lines: proc(5), /proc/PID/stat and `status`."""

from __future__ import annotations

_FIRST = 3  # proc(5) counts from one; the fields behind the name begin with this one
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
    """The number of a process' parent. Raises OSError if there is no such process."""
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
        # The name comes in brackets, and may hold spaces and brackets.
        return file.read().rpartition(b")")[2].split()
