"""System call filters: compiled once for each profile, and installed on a process permanently.

A compilation takes ten milliseconds or more, so programs are cached: in this process, and for daemons of other
pods in a directory that only root can access. Source: seccomp(2).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import stat
from dataclasses import dataclass

from pelagos_core.isolation import libseccomp
from pelagos_core.linux import bpf_syscalls
from pelagos_core.native.instruction import Instruction, instruction
from pelagos_core.native.process import NativeProcess
from pelagos_core.oci.seccomp import Seccomp
from pelagos_core.ownership import is_written_by

log = logging.getLogger(__name__)

CACHE = "/run/pelagos/seccomp"  # on a tmpfs: a reboot, which may change the kernel, empties it
_MAX_BYTES = 4096 * 8  # seccomp(2): BPF_MAXINSNS instructions
_FLAGS = {"TSYNC": 1, "LOG": 2, "SPEC_ALLOW": 4}


@dataclass(frozen=True, slots=True)
class Filter:
    """A program of classic BPF, ready to be installed."""

    program: bytes
    flags: int = 0

    @property
    def size(self) -> int:
        """The number of its instructions."""
        return len(self.program) // bpf_syscalls.INSTRUCTION_BYTES

    def installing(self) -> Instruction:
        """The instruction that installs it on the process permanently, in addition to present filters.

        Needs no_new_privs, or CAP_SYS_ADMIN in the process' user namespace.
        """
        return instruction("filter_system_calls", self.program, self.flags)

    def install(self) -> None:
        """Install it on the calling process, outside of a plan. Raises OSError."""
        if failed := NativeProcess().run([self.installing()]):
            raise OSError(failed.error, failed.strerror, "seccomp")


@functools.lru_cache(maxsize=32)
def filter_of(profile: Seccomp) -> Filter:
    """The filter for a profile. Raises InvalidArgument, or FailedPrecondition without libseccomp."""
    flags = sum(_FLAGS[flag] for flag in set(profile.flags))
    path = _path(profile) if os.geteuid() == 0 else ""
    program = _kept(path) if path else b""
    if not program:
        program = libseccomp.compile_profile(profile)
        if path:
            _keep(path, program)
    return Filter(program, flags)


def _path(profile: Seccomp) -> str:
    meaning = f"{libseccomp.version()} {libseccomp.BINARY_TREE} {platform.machine()} {profile!r}"
    return os.path.join(CACHE, hashlib.sha256(meaning.encode()).hexdigest())


def _kept(path: str) -> bytes:
    """A cached program; empty if there is none, or if another user could have written it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        if not all(map(_is_ours, (os.stat(CACHE), os.fstat(fd)))):
            log.warning("%s can be written by others than root: it is not used", CACHE)
            return b""
        program = file.read(_MAX_BYTES + 1)
    return program if len(program) <= _MAX_BYTES and len(program) % bpf_syscalls.INSTRUCTION_BYTES == 0 else b""


def _keep(path: str, program: bytes) -> None:
    """Cache a program for other processes. A failure is ignored."""
    part = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        os.makedirs(CACHE, mode=0o700, exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, program)
        finally:
            os.close(fd)
        os.rename(part, path)


def _is_ours(status: os.stat_result) -> bool:
    kind = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return kind and is_written_by(status, 0)
