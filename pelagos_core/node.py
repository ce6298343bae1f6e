"""What this node has: its installed backends and its config, as they are at this moment.

`pip install` and `pip uninstall` take effect with the next container, also in a pod whose
shim runs already. Loading runs other people's code, so a child goes first: a backend that
ends it is named and left out.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import metadata

from pelagos_core import config, hookspecs
from pelagos_core.backends import IMPORT_SECONDS, Backends, Failure, Plugin
from pelagos_core.config import Config
from pelagos_core.errors import PelagosError
from pelagos_core.exit_status import signal_name

log = logging.getLogger(__name__)

_LOADED = "/"  # no backend's name: it ends what a trial says
_GRACE_SECONDS = 2.0  # beyond the timer in the child, which ends Python code only


def plugins() -> tuple[Plugin, ...]:
    """The backends of this Python environment. Walks over all of its distributions."""
    points = metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    return tuple(Plugin(point.name, point.dist.version if point.dist else "", point.load) for point in points)


class Node:
    """Backends and config. One for each process; `refresh` keeps it up to date.

    settings: the config with which it was loaded, the defaults if that was faulty.
    """

    def __init__(
        self, backends: Backends, versions: dict[str, str], state: tuple[object, ...], settings: Config
    ) -> None:
        self.settings = settings
        self._backends = backends
        self._versions = versions
        self._state = state

    @classmethod
    def load(cls, leave: Callable[[int], None]) -> Node:
        """Load everything in a child, which goes on as this process.

        Returns in the child only, so nothing is imported twice, and a backend that crashes
        or hangs at its import costs one more child.
        leave: what the parent does once the child, whose pid it is given, has loaded.
        """
        state, settings, found = _state(), _settings(), plugins()
        excluded: tuple[Failure, ...] = ()
        while True:
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                backends = _announced(found, settings, excluded, writer)
                return cls(backends, {plugin.name: plugin.version for plugin in found}, state, settings)
            os.close(writer)
            failure = _watch(reader, pid)
            if failure is None:
                leave(pid)
                os._exit(0)
            excluded = (*excluded, failure)

    @property
    def backends(self) -> Backends:
        """The backends, as they were when last looked at."""
        return self._backends

    @property
    def config(self) -> Config:
        """The node's config file as it is now. Raises PelagosError that names it."""
        return config.load_node()

    def refresh(self) -> None:
        """Look again, if anything was installed, removed or configured since.

        A backend that is loaded stays as it is, also when its distribution was upgraded:
        its modules cannot be taken back. The next pod's shim has the new version.
        """
        state = _state()
        if state == self._state:
            return
        self._state = state
        importlib.invalidate_caches()
        found = plugins()
        kept = [backend for backend in self._backends.installed if backend.name in {plugin.name for plugin in found}]
        names = {backend.name for backend in kept}
        new = tuple(plugin for plugin in found if plugin.name not in names)
        loaded = Backends.load(new, _settings(), _trial(new))
        installed = sorted([*kept, *loaded.installed], key=lambda backend: backend.name)
        self._backends = replace(loaded, installed=tuple(installed))
        self._log_changes(found)

    def _log_changes(self, found: Iterable[Plugin]) -> None:
        now = {plugin.name: plugin.version for plugin in found}
        for name in sorted(now.keys() | self._versions.keys()):
            before, after = self._versions.get(name), now.get(name)
            if before and after and before != after:
                log.info("backend %r: %s is installed, this shim goes on with %s", name, after, before)
            elif before != after:
                log.info("backend %r: %s", name, f"{after} was installed" if after else "was removed")
        self._versions = {name: self._versions.get(name, version) for name, version in now.items()}


def load_waiting() -> Node:
    """The node for a command: the parent waits for the child and ends as it does."""
    return Node.load(_end_like)


def _end_like(pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child has got it too, and decides
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _settings() -> Config:
    """The config for loading backends; a faulty one is told when a container is made."""
    try:
        return config.load_node()
    except PelagosError as error:
        log.warning("%s", error)
        return Config()


def _state() -> tuple[object, ...]:
    """What changes when a distribution is installed or removed, or the config is written."""
    return tuple(stamp(path) for path in (*sys.path, config.node_path()))


def stamp(path: str) -> tuple[int, int]:
    """What changes when a file is replaced or written, or an entry of a directory comes or goes."""
    try:
        status = os.stat(path or ".")
    except OSError:
        return (0, 0)
    return status.st_ino, status.st_mtime_ns


def _announced(found: tuple[Plugin, ...], settings: Config, excluded: tuple[Failure, ...], writer: int) -> Backends:
    """Load, and say on a pipe whose code is about to be run."""

    def say(name: str) -> None:
        os.write(writer, f"{name}\n".encode())

    backends = Backends.load(found, settings, excluded, say)
    for backend in backends.installed:
        # Kept by the backend: whoever is forked from here need not ask again.
        say(backend.name)
        backend.description  # noqa: B018 (a cached property)
    say(_LOADED)
    os.close(writer)
    return backends


def _watch(reader: int, pid: int) -> Failure | None:
    """Follow a child that loads. Returns the failure that has ended it; None if all went well."""
    name, how = "", ""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        said = b""
        while name != _LOADED:
            ready, _, _ = select.select([pipe], [], [], IMPORT_SECONDS + _GRACE_SECONDS)
            chunk = pipe.read(65536) if ready else None
            if not chunk:
                how = "" if ready else f"no answer in {IMPORT_SECONDS + _GRACE_SECONDS:g} s"
                break
            said += chunk
            name = said.decode().splitlines()[-1]
    if name == _LOADED:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # our own child, not reaped yet
    _, status = os.waitpid(pid, 0)
    return Failure(name, "import", how or _ended(status))


def _ended(status: int) -> str:
    if os.WIFEXITED(status):
        return f"the process exited with code {os.WEXITSTATUS(status)}"
    return f"the process died of {signal_name(os.WTERMSIG(status))}"


def _trial(found: tuple[Plugin, ...]) -> tuple[Failure, ...]:
    """Load in children that end; the failures of those backends which end them."""
    excluded: tuple[Failure, ...] = ()
    while found:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                _announced(found, _settings(), excluded, writer)
            finally:
                os._exit(0)
        os.close(writer)
        failure = _watch(reader, pid)
        if failure is None:
            os.waitpid(pid, 0)
            return excluded
        excluded = (*excluded, failure)
    return excluded
