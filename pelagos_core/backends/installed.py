"""The installed backends and the config of this node, kept up to date.

`pip install` and `pip uninstall` take effect with the next container, also in a pod with a running
daemon. Loading runs third-party code, so a child process loads first: a backend that crashes the
child or hangs is reported by name and left out.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, replace
from importlib import metadata

from pelagos_core.backends.registry import IMPORT_SECONDS, Backends, Failure, Plugin, refused
from pelagos_core.backends.time_limit import TooSlow
from pelagos_core.config import node_file
from pelagos_core.config.node_file import Config
from pelagos_core.errors import Internal, PelagosError
from pelagos_core.exit_status import ending
from pelagos_core.linux import child, forked
from pelagos_core.linux.child import Child, ReportingChild
from pelagos_core.plugin import hookspecs

log = logging.getLogger(__name__)

_ANSWER_SECONDS = IMPORT_SECONDS + 2.0  # longer than the timer in the child, which interrupts Python code only
_ENDED = "it has ended"
_MOST_BYTES = 32 << 10  # of a report of problems; less than a pipe holds
_JOINED_SECONDS = 0.05  # for which the kernel may still list a joined thread


def plugins() -> tuple[Plugin, ...]:
    """The backends of this Python environment. Reads the metadata of all of its distributions."""
    points = metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    return tuple(
        Plugin(point.name, point.dist.version, point.load, point.dist.name)
        if point.dist
        else Plugin(point.name, "", point.load)
        for point in points
    )


class Node:
    """Backends and config. One for each process; `refresh` keeps it up to date.

    settings: the config that the backends were loaded with; the defaults if the file was invalid.
    """

    def __init__(
        self, backends: Backends, versions: dict[str, str], state: tuple[object, ...], settings: Config
    ) -> None:
        self.settings = settings
        self._backends = backends
        self._versions = versions
        self._state = state
        self._refreshing = asyncio.Lock()
        self._config: tuple[tuple[int, ...], Config] | None = None

    @classmethod
    def load(cls, leave: Callable[[int], None]) -> Node:
        """Fork a child, load everything in it, and return in the child.

        Returns in the child only, so nothing is imported twice. If a backend crashes or hangs
        during its import, that child ends, and another one is forked without the backend.

        leave: called in the parent with the child's pid, when the child has loaded everything.
        """
        state, settings, found = _state(), _settings(), plugins()
        excluded: tuple[Failure, ...] = ()
        while True:
            reader, writer = os.pipe()
            pid = os.fork()  # not child.fork: this child returns from here
            if pid == 0:
                os.close(reader)
                backends = _announced(found, settings, excluded, writer)
                return cls(backends, {plugin.name: plugin.version for plugin in found}, state, settings)
            os.close(writer)
            failure = _watch(_Loading(ReportingChild(pid, reader)))
            if failure is None:
                leave(pid)
                os._exit(0)
            excluded = (*excluded, failure)

    @property
    def backends(self) -> Backends:
        """The backends as of the last `refresh`."""
        return self._backends

    @property
    def config(self) -> Config:
        """The current content of the node's config file, parsed after a change. Raises PelagosError that names it."""
        now = _identity(node_file.node_path())
        if self._config is None or self._config[0] != now:
            self._config = now, node_file.load_node()
        return self._config[1]

    async def refresh(self) -> None:
        """Load again if a distribution was installed or removed, or the config changed.

        Runs in the daemon. A child process imports the new backends first, without blocking the event loop; a
        backend that fails in the child is not imported here. Concurrent callers wait, so each gets all backends.

        A loaded backend stays loaded after an upgrade of its distribution, because its modules cannot be unloaded;
        the next pod's daemon loads the new version. If no backend is installed any more, all loaded ones stay too:
        pelagos itself is then being uninstalled or replaced.
        """
        async with self._refreshing:
            state = _state()
            if state != self._state:
                await self._look_again()
                self._state = state

    async def _look_again(self) -> None:
        importlib.invalidate_caches()
        found, settings = plugins(), _settings()
        if not found and self._backends.installed:
            log.warning("no backend is installed any more, as during an update of pelagos: the loaded ones stay")
            return
        # If a second package claims a name, it is refused for both, as it will be in the next pod.
        usable = {plugin.name for plugin in found} - {failure.name for failure in refused(found)}
        kept = [backend for backend in self._backends.installed if backend.name in usable]
        names = {backend.name for backend in kept}
        new = tuple(plugin for plugin in found if plugin.name not in names)
        loaded = Backends.load(new, settings, await _tried(new, settings))
        installed = sorted([*kept, *loaded.installed], key=lambda backend: backend.name)
        self._backends = replace(loaded, installed=tuple(installed))
        self._log_changes(found)

    def _log_changes(self, found: Iterable[Plugin]) -> None:
        now = {plugin.name: plugin.version for plugin in found}
        for name in sorted(now.keys() | self._versions.keys()):
            before, after = self._versions.get(name), now.get(name)
            if before and after and before != after:
                log.info("backend %r: %s is installed, this shim still uses %s", name, after, before)
            elif before != after:
                log.info("backend %r: %s", name, f"{after} was installed" if after else "was removed")
        self._versions = {name: self._versions.get(name, version) for name, version in now.items()}


def problems(backends: Backends) -> list[str]:
    """Why backends cannot be used, one line for each of these."""
    unusable = [each for each in backends.installed if each.description.problem]
    return [*map(str, backends.failures), *(f"{each.name}: {each.description.problem}" for each in unusable)]


def problems_now(seconds: float) -> list[str] | None:
    """Load all backends again in a child process and return their `problems`.

    seconds: the longest time to wait.
    Returns None if the child fails or takes longer; the caller must then exit, upon which the child exits too.
    The caller must have one thread. The child is not reaped here: the zygote ignores SIGCHLD. Raises OSError.
    """
    trying = child.fork_reporting(_report_problems)
    try:
        report = trying.read_all(_MOST_BYTES, seconds)
        return list(json.loads(report)) if report else None
    except ValueError:  # the report was cut
        return None
    finally:
        trying.release()


def _report_problems(writer: int) -> None:
    _detach_from_parent(writer)
    importlib.invalidate_caches()
    report = json.dumps(problems(Backends.load(plugins(), _settings())))
    os.write(writer, report.encode()[:_MOST_BYTES])


def load_waiting() -> Node:
    """The node for a command: the parent waits for the child and exits with its status."""
    return Node.load(_end_like)


def _end_like(pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child gets the signal too and handles it
    ended = Child(pid).reap()
    if ended.si_code != os.CLD_EXITED:
        signal.signal(ended.si_status, signal.SIG_DFL)
        os.kill(os.getpid(), ended.si_status)
    os._exit(ended.si_status)


def _settings() -> Config:
    """The config for loading backends; an invalid one is reported by Create."""
    try:
        return node_file.load_node()
    except PelagosError as error:
        log.warning("%s", error)
        return Config()


def _state() -> tuple[object, ...]:
    """Stamps that change when a distribution is installed or removed, or the config is written."""
    return tuple(stamp(path) for path in (*sys.path, node_file.node_path()))


def stamp(path: str) -> tuple[int, int]:
    """A stamp that changes when a file is replaced or written, or a directory's entries change."""
    try:
        status = os.stat(path or ".")
    except OSError:
        return (0, 0)
    return status.st_ino, status.st_mtime_ns


def _identity(path: str) -> tuple[int, ...]:
    """A stamp of a file. It includes the size, to detect a second write within one tick of the file system's clock."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _announced(found: tuple[Plugin, ...], settings: Config, excluded: tuple[Failure, ...], writer: int) -> Backends:
    """Load the backends and report progress on a pipe."""
    account = _Account(writer)
    backends = Backends.load(found, settings, excluded, account.begin)
    hung = []
    for backend in backends.installed:
        account.begin(backend.name)
        # Both are cached in the backend, so a process forked from here does not call the hooks again.
        _ = backend.native
        if backend.description.problem.startswith(TooSlow.__name__):
            hung.append(Failure(backend.name, "describe", backend.description.problem))
    account.close([*backends.failures, *hung])
    return backends


class _Account:
    """The progress report of a process that loads backends, on a pipe.

    One JSON value on each line: a string names the backend whose code runs next; an object is the failure that
    ends the process; a list holds the failures after all are loaded.
    """

    def __init__(self, writer: int) -> None:
        self._writer = writer
        self._running = ""
        self._threads = _threads()

    def begin(self, name: str) -> None:
        """Report that the code of this backend runs next."""
        self._end()
        self._running = name
        self._say(name)

    def close(self, failures: list[Failure]) -> None:
        """Report that all are loaded."""
        self._end()
        self._say([astuple(failure) for failure in failures])
        os.close(self._writer)

    def _end(self) -> None:
        """End this process if the backend that was loaded last has left threads running.

        fork(2) copies the locks but not the threads, so a lock that a thread holds at that moment stays
        locked for ever in the container (pthread_atfork(3)).
        """
        deadline = time.monotonic() + _JOINED_SECONDS
        while (started := _threads() - self._threads) > 0:
            if time.monotonic() > deadline:
                number = "a thread" if started == 1 else f"{started} threads"
                why = f"it starts {number} when it is imported; processes are forked, and threads are lost in a fork"
                self._say(asdict(Failure(self._running, "import", why)))
                os._exit(1)
            time.sleep(_JOINED_SECONDS / 50)

    def _say(self, what: object) -> None:
        os.write(self._writer, f"{json.dumps(what)}\n".encode())


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


class _Loading:
    """A child that loads backends, and its report so far."""

    def __init__(self, child: ReportingChild) -> None:
        self.child = child
        self._said = b""

    @property
    def has_loaded(self) -> bool:
        """Whether the child has loaded all backends."""
        return self._line.startswith("[")

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The backends that have failed in it, once it `has_loaded`."""
        return tuple(Failure(*each) for each in json.loads(self._line))

    def take(self, chunk: bytes | None) -> str:
        """Add a chunk of the report (None: timed out). Returns the reason if no more will come, else an empty text."""
        if chunk is None:
            return f"no answer in {_ANSWER_SECONDS:g} s"
        self._said += chunk
        return "" if chunk else _ENDED

    def failure(self, how: str, ended: os.waitid_result) -> Failure | None:
        """The failure of the child, which has exited; None if it `has_loaded`. Raises Internal."""
        return None if self.has_loaded else self.blame(ending(ended) if how == _ENDED else how)

    def blame(self, how: str) -> Failure:
        """The failure of the backend whose code ran last. Raises Internal if none had run."""
        if not self._line:  # before any backend: another child would fail in the same way
            raise Internal(f"backends cannot be loaded: {how}")
        said = json.loads(self._line)
        failure = Failure(**said) if isinstance(said, dict) else Failure(said, "import", how)
        log.warning("%s", failure)
        return failure

    @property
    def _line(self) -> str:
        """The last complete line."""
        return self._said.rpartition(b"\n")[0].rpartition(b"\n")[2].decode()


def _watch(loading: _Loading) -> Failure | None:
    """Read the report of a child of `Node.load`. Returns the failure that has ended it; None if it has loaded."""
    how = ""
    while not loading.has_loaded and not how:
        how = loading.take(loading.child.read(_ANSWER_SECONDS))
    if loading.has_loaded:
        loading.child.release()
        return None
    with loading.child as child:
        return loading.failure(how, child.end())


async def _tried(found: tuple[Plugin, ...], settings: Config) -> tuple[Failure, ...]:
    """Load in children that exit afterwards; return the failures of backends that fail or end a child."""
    excluded: tuple[Failure, ...] = ()
    while found:
        loading = _Loading(child.fork_reporting(functools.partial(_try, found, settings, excluded)))
        failure = await _followed(loading)
        if failure is None:
            return loading.failures
        excluded = (*excluded, failure)
    return excluded


def _try(found: tuple[Plugin, ...], settings: Config, excluded: tuple[Failure, ...], writer: int) -> None:
    """Load the backends. In the child."""
    _detach_from_parent(writer)
    _announced(found, settings, excluded, writer)


def _detach_from_parent(writer: int) -> None:
    """Share nothing with the parent but the pipe. In a child that loads backends."""
    forked.restore_signals()
    forked.close_all_but(writer)  # a reader gets end of file only when every copy of the writing end is closed
    forked.end_with_parent(writer)


async def _followed(loading: _Loading) -> Failure | None:
    """Read the report of a child of `_tried` until it exits. Returns the failure that has ended it, or None."""
    how = ""
    with loading.child as child:
        while not loading.has_loaded and not how:
            how = loading.take(await child.read_async(_ANSWER_SECONDS))
        child.signal(signal.SIGKILL)
        ended = await child.ended()  # the exit of a large process takes a while
    return loading.failure(how, ended)
