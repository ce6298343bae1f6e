"""The words for a path in a root that cannot be found or made: see native/process/resolve.h."""

from __future__ import annotations

from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied
from pelagos_core.native.process import Failure

_KINDS = {
    "find_directory": ("directory ", InvalidArgument),
    "find_file": ("file ", InvalidArgument),
    "find": ("", InvalidArgument),
    "make_directory": ("directory ", PermissionDenied),
    "make_file": ("file ", PermissionDenied),
}


def failure(failed: Failure) -> PelagosError | None:
    """The error for an instruction that has failed at a path that it mounts on, or makes; None if at something else."""
    if failed.stage not in _KINDS:
        return None
    what, kind = _KINDS[failed.stage]
    return kind(f"{what}{failed.detail!r} in the container: {failed.strerror}")
