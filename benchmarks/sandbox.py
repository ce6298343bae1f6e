"""Mount and pid namespaces for one measurement, so that it runs like on a separate node.

It sees only processes that it has started, and they end with it. With a private /run and /var/cache it
uses a separate zygote and a separate cache, and does not change those of the machine.
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
# The directories to which shims and their caches write.
_PRIVATE = ("/run", "/var/cache")


def inside(body: Callable[[], T], directory: Path, cgroup: str) -> T:
    """Run `body` in separate namespaces; return its result, or raise its exception.

    directory: where it writes; created here and removed at the end.
    cgroup: the prefix of its containers' cgroups, which are removed too.
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
        os.kill(child, signal.SIGKILL)  # after an interruption; otherwise it has exited already
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
    # The first process is killed when this one exits, and then the kernel kills all others in its pid namespace.
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    first = os.fork()
    if first == 0:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        _leave(lambda: _be_first(body))
    os.waitpid(first, 0)


def _be_first(body: Callable[[], None]) -> None:
    """Run as pid 1: reap orphans. When this process exits, the kernel kills the rest."""
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
    except Exception as error:  # noqa: BLE001 (the parent raises it again)
        outcome = (False, error)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(outcome))


def _leave(body: Callable[[], None]) -> None:
    """Run `body` and exit. Runs in a forked process."""
    try:
        body()
    except KeyboardInterrupt:
        pass
    except BaseException:  # noqa: BLE001 (the child must not return into its parent's code)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(0)
