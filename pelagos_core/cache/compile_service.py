"""The compile service: a forked process that serves compiled code from the store, compiling it if it is missing.

It is root and trusted: it copies and digests the module, but does not parse it; only the compiler's process parses
it. It waits for the store's lock of the key, so that a module is compiled once for any number
of pods; the kernel releases the lock when its holder ends, and the next waiting process compiles.
At most TURNS different modules are compiled at the same time on a node, since each compilation may use its whole
memory limit. After PATIENCE_SECONDS a compilation starts without a slot. TURNS also limits the number of modules
that are read from images into memory (`wait_to_read`).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import socket
import time
from dataclasses import dataclass

from pelagos_core.cache import compiler
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cache.entry import About
from pelagos_core.cache.key import Key
from pelagos_core.cache.lent_directory import detached
from pelagos_core.cache.own_file import Broken
from pelagos_core.cache.store import READINGS, Store
from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config import size
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.errors import Internal, PelagosError, ResourceExhausted, from_fields, to_fields
from pelagos_core.linux import child, forked, process_stat, syscalls
from pelagos_core.linux.child import Child
from pelagos_core.native.process_name import rename
from pelagos_core.oci.resources import Memory, Resources
from pelagos_core.plugin import digest
from pelagos_core.plugin.entrypoint import CODE
from pelagos_core.rootfs.propagation import make_mounts_private

log = logging.getLogger(__name__)

TURNS = max(2, os.cpu_count() or 1)
PATIENCE_SECONDS = 60.0  # then a module is compiled without a slot: another tenant's modules may hold all slots
FOUND = "found"
"""The value of `how` for code that was found in the store."""
_MAX_ANSWER = 64 << 10
_MAX_TEXT = 4 << 10
_COPY_BYTES = 1 << 24
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_GROUP = re.compile(r"compile-(?P<pids>\d+)-(?P<pid>\d+)-\d+")
_numbers = itertools.count()
# The mount point of the scratch file system, in a private mount namespace: a directory that exists on
# every host and that holds no engine's files.
_SCRATCH = "/sys"


@dataclass(frozen=True, slots=True)
class CompileService:
    """A forked compile service, as its parent sees it."""

    child: Child
    socket: socket.socket

    def answer(self) -> tuple[int, str]:
        """Read the answer, when `socket` is readable.

        Returns a descriptor of the code's directory, and how the code was obtained. Raises the PelagosError that the
        service reports.
        """
        data, fds, _, _ = socket.recv_fds(self.socket, _MAX_ANSWER, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise Internal("the compile service has ended without an answer")
        code, text, reason = json.loads(data)
        if code or not fds:
            raise from_fields(code, text, reason)
        return fds[0], text

    def close(self) -> None:
        """Kill and reap the process unless that is done, and close the socket."""
        self.socket.close()
        self.child.close()


def fork(request: CompileRequest, cgroup: Cgroup) -> CompileService:
    """Fork a compile service. The parent must have one thread; it reads one answer, then kills and reaps it.

    Raises OSError; the group is removed then.
    """
    try:
        return _forked(request, cgroup)
    except BaseException:
        cgroup.try_remove()
        raise


def _forked(request: CompileRequest, cgroup: Cgroup) -> CompileService:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        return CompileService(Child.watched(child.fork(lambda: _serve(request, cgroup, theirs)).pid), ours)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()


def wait_to_read(cache: CacheSettings) -> None:
    """Wait for one of TURNS slots for modules in memory; the slot is held until this process ends.

    Returns without a slot after PATIENCE_SECONDS. Compilations have separate slots: a process waits for these with a
    module in memory, so with a single kind of slot, all processes could wait for each other.
    """
    if store := _opened(cache):
        with contextlib.suppress(OSError):  # the disk cannot be written
            store.hold(READINGS, TURNS, PATIENCE_SECONDS)


def make_group(cache: CacheSettings) -> Cgroup:
    """Create a control group outside the pods' groups, with the memory limit. The caller removes it.

    If none can be created, returns one without directories: only the resource limits of processes hold then.
    """
    cgroup = Cgroup.of("", f"compile-{_pid_namespace()}-{os.getpid()}-{next(_numbers)}")
    if not cgroup.paths:
        return cgroup  # without root
    for path in cgroup.paths:
        _sweep(os.path.dirname(path))
    try:
        cgroup.create(Resources(memory=Memory(limit=cache.memory)))
    except (PelagosError, OSError) as error:
        log.warning("compiling has no control group: %s", error)
        cgroup.try_remove()
        return Cgroup(())
    return cgroup


def _sweep(parent: str) -> None:
    """Remove the groups that killed parents have left."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            match = _GROUP.fullmatch(name)
            # The pid is only valid in its own pid namespace; a cluster in a container has another one.
            if not match or int(match["pids"]) != _pid_namespace():
                continue
            # A zombie counts as ended: it was killed, but not reaped yet.
            if process_stat.is_exiting(int(match["pid"])):
                with contextlib.suppress(OSError):  # it is busy, or another process has removed it
                    os.rmdir(os.path.join(parent, name))


def _pid_namespace() -> int:
    """The number of this process' pid namespace: the inode of its file (namespaces(7))."""
    return os.stat("/proc/self/ns/pid").st_ino


def _serve(request: CompileRequest, cgroup: Cgroup, parent: socket.socket) -> None:
    """Send one answer. In the child."""
    rename("pelagos-cache")
    forked.restore_signals()
    forked.end_with_parent(parent.fileno())
    forked.close_all_but(parent.fileno(), request.file)
    try:
        joining.join(cgroup)
        code, how = _obtain(request)
        socket.send_fds(parent, [json.dumps([0, how, ""]).encode()], [code])
    except BaseException as error:  # noqa: BLE001 (every error is reported to the parent)
        number, text, reason = to_fields(error)
        parent.send(json.dumps([number, text[:_MAX_TEXT], reason]).encode())


def _obtain(request: CompileRequest) -> tuple[int, str]:
    """Return a descriptor of a read-only directory with the code, and how it was obtained."""
    # A private mount namespace: for the scratch file system, and because root of a user namespace may
    # clone mounts of a mount namespace of that user namespace only.
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_mounts_private()
    module = _sealed(request)
    key = request.key(digest.sha256(module))
    store = _opened(request.cache)
    code = _kept(store, key) if store else None
    if code is not None:
        return code, FOUND
    scratch = _scratch(request)
    output = os.open(CODE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=scratch)
    with contextlib.ExitStack() as turn:
        if store:
            with contextlib.suppress(OSError):  # the disk cannot be written; `_kept` has logged it
                turn.enter_context(store.turn(TURNS, PATIENCE_SECONDS))
        began = time.monotonic()
        compiler.compile(request, module, output, _SCRATCH)
    log.info("%s: compiled for %s in %.1f s", request.path, key.backend, time.monotonic() - began)
    code = _stored(store, request, key, output) if store else None
    return (code, "compiled") if code is not None else (detached(scratch), "compiled, not kept")


def _sealed(request: CompileRequest) -> int:
    """Copy the module to a memory file that is sealed against changes (memfd_create(2))."""
    memory = os.memfd_create("module", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    offset = 0
    while copied := os.sendfile(memory, request.file, offset, _COPY_BYTES):
        offset += copied
        if offset > request.cache.memory:
            raise ResourceExhausted(
                f"{request.path!r}: larger than the {size.describe(request.cache.memory)} that compiling may take"
            )
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    return memory


def _opened(cache: CacheSettings) -> Store | None:
    try:
        return Store(cache.directory)
    except (OSError, PelagosError) as error:
        log.warning("compiled code is not kept: %s", error)
        return None


def _kept(store: Store, key: Key) -> int | None:
    try:
        store.lock(key.name)
    except OSError as error:
        log.warning("cache %s: %s", store.path, error.strerror)
    try:
        return store.checked(key.name)
    except (Broken, OSError) as error:
        log.warning("cache %s: entry %.12s is compiled again: %s", store.path, key.name, error)
        return None


def _scratch(request: CompileRequest) -> int:
    """Mount an empty private file system; return a descriptor of its root."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("code", _SCRATCH, "tmpfs", flags, f"mode=711,size={request.cache.memory}")
    return os.open(_SCRATCH, os.O_RDONLY | os.O_DIRECTORY)


def _stored(store: Store, request: CompileRequest, key: Key, output: int) -> int | None:
    """Store the code; return the descriptor of its entry, or None if it cannot be stored."""
    length = os.fstat(output).st_size
    if length > request.cache.size:
        sizes = [size.describe(each) for each in (length, request.cache.size)]
        log.info("%s: %s of code are not kept: the cache has %s", request.path, *sizes)
        return None
    about = About(key, request.path, length, digest.sha256(output), int(time.time()))
    try:
        code = store.keep(about, output)
    except (Broken, OSError) as error:
        log.warning("cache %s: %s", store.path, error)
        return None
    with contextlib.suppress(OSError):
        store.prune(request.cache.size)
    return code
