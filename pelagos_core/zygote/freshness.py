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

# Seconds after which unusable backends are tried again: a missing file may have been installed.
_RETRY_SECONDS = 10.0
_TRY_SECONDS = 0.5  # `start` waits meanwhile, and it waits one second at most
_LINKER_CACHE = "/etc/ld.so.cache"


class Freshness:
    """The stat(2) stamps of all paths that decided which modules this process has loaded."""

    def __init__(self, backends: Backends) -> None:
        """Record the stamps. Call it when everything is loaded."""
        self._problems = problems(backends)
        self._until = time.monotonic() + _RETRY_SECONDS
        self._stamps = {path: stamp(path) for path in self._paths()}

    def is_stale(self) -> bool:
        """Whether a new process could load other modules. Takes half a second at most."""
        return any(stamp(path) != seen for path, seen in self._stamps.items()) or self._is_otherwise_usable()

    def _is_otherwise_usable(self) -> bool:
        """Whether the problems of unusable backends have changed, or the check has failed.

        A file that a backend needs may be installed at a path without a stamp.
        """
        if not self._problems or time.monotonic() < self._until:
            return False
        try:
            now = problems_now(_TRY_SECONDS)
        except OSError:
            return True
        self._until = time.monotonic() + _RETRY_SECONDS
        return now != self._problems

    @staticmethod
    def _paths() -> set[str]:
        """Directories of distributions and programs, the config, each imported file, and compiled libraries.

        The standard library is upgraded as a whole, so only its directory and the interpreter are checked.
        """
        library = sysconfig.get_path("stdlib") + os.sep
        modules = list(sys.modules.values())
        files = {str(path) for module in modules if (path := getattr(module, "__file__", None))}
        packages = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"
        ours = {path for path in files if not path.startswith(library) or any(part in path for part in packages)}
        programs = set(os.get_exec_path())
        ours |= {str(pelagos_native.LIBRARY), str(pelagos_native.NURSERY)}
        return ours | programs | {*sys.path, sys.executable, node_file.node_path(), _LINKER_CACHE}
