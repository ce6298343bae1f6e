"""The search for a process' entry point in its container's root, by the rules of execvp(3).

In the init process, while the host's files are accessible; every path is resolved inside the root.
"""

from __future__ import annotations

import os

from pelagos_core.errors import PelagosError
from pelagos_core.oci import Process
from pelagos_core.plugin.entrypoint import Entrypoint, candidates, not_found, split_func
from pelagos_core.plugin.limits import Limits
from pelagos_core.rootfs.root import Root


def find(root: Root, process: Process, limits: Limits) -> Entrypoint:
    """The first candidate that can be run; else the first existing one, whose error is reported.

    Whether the user may execute a native program is checked after the change of user.
    Raises PermissionDenied, InvalidArgument or NotFound that names it.
    """
    there: list[Entrypoint] = []
    refusal: PelagosError | None = None
    for path in candidates(process):
        try:
            found = _open(root, process, path, limits)
        except PelagosError as error:
            refusal = refusal or error
            continue
        if found:
            there.append(found)
            if found.is_runnable:
                break
    if not there:
        raise refusal or not_found(process)
    chosen = there[-1] if there[-1].is_runnable else there[0]
    for other in there:
        if other is not chosen:
            os.close(other.file)
    return chosen


def given(module: int, process: Process, limits: Limits) -> Entrypoint:
    """The entry point for a file that is not in the container: a module of its image."""
    return Entrypoint.of(process, candidates(process)[-1], split_func(process.args[0])[1], module, limits)


def _open(root: Root, process: Process, path: str, limits: Limits) -> Entrypoint | None:
    file = root.open_file(path)
    return None if file is None else Entrypoint.of(process, path, split_func(process.args[0])[1], file, limits)
