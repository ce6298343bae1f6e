"""What the kernel tells of a process in its line of numbers: proc(5), /proc/PID/stat."""

from __future__ import annotations

_FIRST = 3  # proc(5) counts from one; the fields behind the name begin with this one
_STATE, _FLAGS = (number - _FIRST for number in (3, 9))
_AREAS = {
    "start_code": 26,
    "end_code": 27,
    "start_stack": 28,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "arg_start": 48,
    "arg_end": 49,
    "env_start": 50,
    "env_end": 51,
}
_PF_EXITING = 0x4  # include/linux/sched.h
_ENDED = (b"Z", b"X")


def is_leaving(pid: int) -> bool:
    """Whether a process has ended, reaped or not, or is about to end."""
    try:
        fields = _fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return fields[_STATE] in _ENDED or bool(int(fields[_FLAGS]) & _PF_EXITING)


def memory_map() -> dict[str, int]:
    """Where the parts of the calling process' memory begin and end, by their names in linux/prctl.h. Raises OSError."""
    fields = _fields("self")
    return {name: int(fields[number - _FIRST]) for name, number in _AREAS.items()}


def _fields(pid: int | str) -> list[bytes]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name comes in brackets, and may hold spaces and brackets.
        return file.read().rpartition(b")")[2].split()
