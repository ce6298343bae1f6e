"""Reason codes: stable names for why a container or an exec could not be created, or why it failed.

An error has one as its field `reason`, and appends it to its text, such as `[PLG-ENTRYPOINT]`. docs/errors.md
explains each. Texts may change; users and programs search for the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pelagos_core.errors import PelagosError, from_fields, to_fields

SPEC = "PLG-SPEC"
STREAMS = "PLG-STREAMS"
CGROUP = "PLG-CGROUP"
ISOLATION = "PLG-ISOLATION"
MOUNT = "PLG-MOUNT"
IMAGE = "PLG-IMAGE"
ENTRYPOINT = "PLG-ENTRYPOINT"
ENGINE_MISSING = "PLG-ENGINE-MISSING"
ENGINE_UNFIT = "PLG-ENGINE-UNFIT"
ENGINE_FAILED = "PLG-ENGINE-FAILED"
MODULE = "PLG-MODULE"
ARGUMENTS = "PLG-ARGUMENTS"
CWD = "PLG-CWD"
NETWORK = "PLG-NETWORK"
SERVE = "PLG-SERVE"
TRAP = "PLG-TRAP"
MEMORY = "PLG-MEMORY"
HOOK = "PLG-HOOK"
KILLED = "PLG-KILLED"
DEADLINE = "PLG-DEADLINE"
LOST = "PLG-LOST"

ALL = frozenset(value for name, value in tuple(globals().items()) if name.isupper())


@contextmanager
def because(reason: str, name: str = "") -> Iterator[None]:
    """Add a reason to each PelagosError or OSError that leaves the block without one.

    name: the object that the error is about, to be put before the message; empty if the message contains it.
    Raises a PelagosError instead of an OSError.
    """
    try:
        yield
    except PelagosError as error:
        error.reason = error.reason or reason
        if name:
            error.message = f"{name}: {error.message}"
        raise
    except OSError as error:
        code, message, _ = to_fields(error)
        raise from_fields(code, message, reason) from error
