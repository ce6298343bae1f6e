"""Whether the loaded modules of a process are still the installed ones."""

from __future__ import annotations

import os
import sys
import sysconfig
import time

import pelagos_native
from pelagos_core.backends.installed import problems, problems_now, stamp
from pelagos_core.backends.registry import Backends
from pelagos_core.config import node_file

# Seconds after which the backends of a zygote with an unusable one are tried again: what that lacks may have come.
_DOUBTFUL_SECONDS = 10.0
_TRY_SECONDS = 0.5  # a `start` waits for this, and for a second at most
_LINKER_CACHE = "/etc/ld.so.cache"


class Freshness:
    """The stat(2) stamps of all paths that decided which modules this process has loaded."""

    def __init__(self, backends: Backends) -> None:
        """Take the stamps. Call it when everything is loaded."""
        self._problems = problems(backends)
        self._until = time.monotonic() + _DOUBTFUL_SECONDS
        self._stamps = {path: stamp(path) for path in self._paths()}

    def is_stale(self) -> bool:
        """Whether a new process could load something else. Takes half a second at most."""
        return any(stamp(path) != seen for path, seen in self._stamps.items()) or self._is_otherwise_usable()

    def _is_otherwise_usable(self) -> bool:
        """Whether unusable backends have become usable, or for another reason, or it cannot be told.

        What a backend lacks may come in a place that has no stamp.
        """
        if not self._problems or time.monotonic() < self._until:
            return False
        try:
            now = problems_now(_TRY_SECONDS)
        except OSError:
            return True
        self._until = time.monotonic() + _DOUBTFUL_SECONDS
        return now != self._problems

    @staticmethod
    def _paths() -> set[str]:
        """Directories of distributions and programs, the config, each imported file, and compiled libraries.

        The standard library is upgraded as a whole, so its directory and the interpreter stand for its files.
        """
        library = sysconfig.get_path("stdlib") + os.sep
        modules = list(sys.modules.values())
        files = {str(path) for module in modules if (path := getattr(module, "__file__", None))}
        packages = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"
        ours = {path for path in files if not path.startswith(library) or any(part in path for part in packages)}
        programs = set(os.get_exec_path())
        ours |= {str(pelagos_native.LIBRARY), str(pelagos_native.NURSERY)}
        return ours | programs | {*sys.path, sys.executable, node_file.node_path(), _LINKER_CACHE}
