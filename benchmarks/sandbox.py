"""Mount and process namespaces of one measurement: a node with nobody else on it.

Only what the measurement started is seen, and all of it ends with it. A private /run and
/var/cache give it a zygote and a cache of its own, and keep the machine's as they are.
"""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks import cgroups
from pelagos_core.linux import syscalls

T = TypeVar("T")

_MS_REC_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE, mount(2)
_OPEN_FILES = 8192
# What shims and their caches write to.
_PRIVATE = ("/run", "/var/cache")


def inside(body: Callable[[], T], directory: Path, cgroup: str) -> T:
    """Run `body` in namespaces of its own; return what it returns, raise what it raises.

    directory: what it writes to, made here and removed at the end. cgroup: what the names of
    its containers' cgroups begin with; they are removed likewise.
    """
    directory.mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _leave(lambda: _enter(lambda: _report(body, writer)))
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
    finally:
        os.kill(child, signal.SIGKILL)  # for an interrupted run: it has ended by itself otherwise
        os.waitpid(child, 0)
        cgroups.remove(cgroup)
        shutil.rmtree(directory, ignore_errors=True)
    if not said:
        raise OSError("the measurement's process was lost")
    returned, outcome = pickle.loads(said)  # noqa: S301 (from our own child)
    if not returned:
        raise outcome
    result: T = outcome
    return result


def _enter(body: Callable[[], None]) -> None:
    # The first process dies with this one, and everything else with the first.
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    first = os.fork()
    if first == 0:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        _leave(lambda: _be_first(body))
    os.waitpid(first, 0)


def _be_first(body: Callable[[], None]) -> None:
    """Pid 1: adopts and reaps what loses its parent. When it ends the kernel kills the rest."""
    syscalls.mount("", "/", "", _MS_REC_PRIVATE, "")
    syscalls.mount("proc", "/proc", "proc", 0, "")
    for path in _PRIVATE:
        syscalls.mount("tmpfs", path, "tmpfs", 0, "mode=755")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_OPEN_FILES, hard)), hard))
    child = os.fork()
    if child == 0:
        _leave(body)
    while os.wait()[0] != child:
        pass


def _report(body: Callable[[], T], writer: int) -> None:
    try:
        outcome: tuple[bool, object] = (True, body())
    except Exception as error:  # noqa: BLE001 (it is raised again on the other side)
        outcome = (False, error)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(outcome))


def _leave(body: Callable[[], None]) -> None:
    """End this forked process after `body`."""
    try:
        body()
    except KeyboardInterrupt:
        pass
    except BaseException:  # noqa: BLE001 (it must not go on as its parent does)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(0)
