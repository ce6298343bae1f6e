"""The exit codes of the `pelagos` command and their meanings; docs/errors.md contains this table.

Those of `pelagos run` are the same as in docker run, podman run and timeout(1), if these define one.
"""

from __future__ import annotations

from pelagos_core import reasons
from pelagos_core.errors import Code, PelagosError

OK = 0
FAULT = 1
USAGE = 2
DEADLINE = 124
FAILED = 125
CANNOT_INVOKE = 126
NOT_FOUND = 127
SIGNALLED = 128
INTERRUPTED = 130
TRAP = 134
KILLED = 137
NO_READER = 141
UNKNOWN = 255

# For each code: its meaning for `pelagos run`, and for other commands; empty if it is not used there.
MEANINGS: dict[int, tuple[str, str]] = {
    OK: ("the program's own", "done"),
    FAULT: ("the program's own", "it failed, or found something wrong: the line on stderr says what"),
    USAGE: ("the program's own", "the command line is wrong"),
    DEADLINE: ("the program has reached its deadline (`io.pelagos.wasm.deadline`)", ""),
    FAILED: ("pelagos, the host or the command line is at fault: the line on stderr says which", ""),
    CANNOT_INVOKE: ("the file exists but cannot be run, or its function cannot be called with these arguments", ""),
    NOT_FOUND: ("the file or the requested backend does not exist", ""),
    INTERRUPTED: ("`^C` or SIGINT ended it", "`^C` or SIGINT ended it"),
    TRAP: ("the guest has trapped, or its engine failed", ""),
    KILLED: ("SIGKILL ended it: out of memory, or `pelagos kill`", ""),
    NO_READER: ("no process reads its output any more (SIGPIPE)", "no process reads its output any more (SIGPIPE)"),
    UNKNOWN: ("the program's own, or pelagos does not know how it ended", ""),
}


_CANNOT_RUN = frozenset({reasons.ENTRYPOINT, reasons.ENGINE_UNFIT, reasons.MODULE, reasons.ARGUMENTS})
_MAY_BE_MISSING = frozenset({reasons.ENTRYPOINT, reasons.ENGINE_MISSING})


def of_error(error: PelagosError) -> int:
    """The exit code of `pelagos run` for an error before the program runs."""
    if error.reason in _MAY_BE_MISSING and error.code == Code.NOT_FOUND:
        return NOT_FOUND
    return CANNOT_INVOKE if error.reason in _CANNOT_RUN else FAILED


def of_signal(signum: int) -> int:
    """The exit code of a process that a signal has killed, as in shells and containerd."""
    return SIGNALLED + signum


def describe(error: OSError) -> str:
    """The text for an OSError, in the format of all other errors: the object, then the reason."""
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename else why
