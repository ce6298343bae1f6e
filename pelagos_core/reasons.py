"""Why a container or an exec could not be made, or how it failed: names that do not change.

Each is at the end of the error's text, such as `[PLG-ENTRYPOINT]`, and docs/errors.md has a
section for each. The text says what and why; the name is for searching, and for machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pelagos_core.errors import PelagosError, from_status, to_status

SPEC = "PLG-SPEC"
STREAMS = "PLG-STREAMS"
CGROUP = "PLG-CGROUP"
ISOLATION = "PLG-ISOLATION"
MOUNT = "PLG-MOUNT"
ENTRYPOINT = "PLG-ENTRYPOINT"
ENGINE_MISSING = "PLG-ENGINE-MISSING"
ENGINE_UNFIT = "PLG-ENGINE-UNFIT"
ENGINE_FAILED = "PLG-ENGINE-FAILED"
MODULE = "PLG-MODULE"
CWD = "PLG-CWD"
TRAP = "PLG-TRAP"
MEMORY = "PLG-MEMORY"
HOOK = "PLG-HOOK"
KILLED = "PLG-KILLED"
DEADLINE = "PLG-DEADLINE"
LOST = "PLG-LOST"


@contextmanager
def because(reason: str, name: str = "") -> Iterator[None]:
    """Give this reason to any error of ours, or of the kernel, that leaves the block without one.

    name: of the object that it is about, where the block does not know that.
    """
    try:
        yield
    except PelagosError as error:
        error.reason = error.reason or reason
        if name:
            error.args = (f"{name}: {error.args[0]}",)
        raise
    except OSError as error:
        raise from_status(*to_status(error), reason) from error
