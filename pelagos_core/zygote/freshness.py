"""Whether what a process has loaded is still what is installed."""

from __future__ import annotations

import os
import sys
import sysconfig
import time

from pelagos_core.backends.installed import stamp
from pelagos_core.backends.registry import Backends
from pelagos_core.config import node_file

# A backend that cannot be used waits for something that we do not know.
_DOUBTFUL_SECONDS = 10.0
_LINKER_CACHE = "/etc/ld.so.cache"


class Freshness:
    """The stamps of all that was looked at when this process loaded its modules."""

    def __init__(self, backends: Backends) -> None:
        """Take the stamps. To be called when everything is loaded."""
        usable = not backends.failures and not any(each.description.problem for each in backends.installed)
        self._until = float("inf") if usable else time.monotonic() + _DOUBTFUL_SECONDS
        self._stamps = {path: stamp(path) for path in self._paths()}

    def is_stale(self) -> bool:
        """Whether a newly started process could find something else. A tenth of a second's stats at the most."""
        if time.monotonic() > self._until:
            return True
        return any(stamp(path) != seen for path, seen in self._stamps.items())

    @staticmethod
    def _paths() -> set[str]:
        """Directories of distributions and programs, the config, and each file that was imported.

        The standard library's files are upgraded as a whole, with its directory and the interpreter.
        """
        library = sysconfig.get_path("stdlib") + os.sep
        modules = list(sys.modules.values())
        files = {str(path) for module in modules if (path := getattr(module, "__file__", None))}
        packages = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"
        ours = {path for path in files if not path.startswith(library) or any(part in path for part in packages)}
        programs = set(os.get_exec_path())
        return ours | programs | {*sys.path, sys.executable, node_file.node_path(), _LINKER_CACHE}
