"""Whether the loaded modules of a process are still the installed ones."""

from __future__ import annotations

import os
import sys
import sysconfig
import time

import pelagos_native
from pelagos_core.backends.installed import stamp
from pelagos_core.backends.registry import Backends
from pelagos_core.config import node_file

# Seconds after which a zygote with an unusable backend is stale: a missing dependency may be installed by then.
_DOUBTFUL_SECONDS = 10.0
_LINKER_CACHE = "/etc/ld.so.cache"


class Freshness:
    """The stat(2) stamps of all paths that decided which modules this process has loaded."""

    def __init__(self, backends: Backends) -> None:
        """Take the stamps. Call it when everything is loaded."""
        usable = not backends.failures and not any(each.description.problem for each in backends.installed)
        self._until = float("inf") if usable else time.monotonic() + _DOUBTFUL_SECONDS
        self._stamps = {path: stamp(path) for path in self._paths()}

    def is_stale(self) -> bool:
        """Whether a new process could load something else. At most a tenth of a second, for stat(2)."""
        if time.monotonic() > self._until:
            return True
        return any(stamp(path) != seen for path, seen in self._stamps.items())

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
