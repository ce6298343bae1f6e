"""Error texts for a root, or a path in it, that cannot be opened or created, see native/process/resolve.h."""

from __future__ import annotations

import errno

from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, PermissionDenied
from pelagos_core.native.process import Failure

_KINDS = {
    "find_directory": ("directory ", InvalidArgument),
    "find_file": ("file ", InvalidArgument),
    "find": ("", InvalidArgument),
    "make_directory": ("directory ", PermissionDenied),
    "make_file": ("file ", PermissionDenied),
}


def failure(failed: Failure) -> PelagosError | None:
    """The error for an instruction that has failed at a path in the root; None for another failure."""
    if failed.stage not in _KINDS:
        return None
    what, kind = _KINDS[failed.stage]
    return kind(f"{what}{failed.detail!r} in the container: {failed.strerror}")


def root_failure(failed: Failure) -> PelagosError | None:
    """The error for the host's directory of the root; None for another failure."""
    if failed.stage != "open_root" or failed.error not in (errno.ENOENT, errno.ENOTDIR):
        return None
    if failed.error == errno.ENOENT:
        return NotFound(f"root file system {failed.detail!r} does not exist")
    return InvalidArgument(f"root file system {failed.detail!r} is not a directory")
