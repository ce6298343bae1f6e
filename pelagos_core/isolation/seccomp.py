"""System call filters: made once for each profile, and put on a process for good.

Compiling takes ten milliseconds and more, so a program is kept: in this process, and for the
daemons of other pods in a directory that only root can reach. Source: seccomp(2).
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

CACHE = "/run/pelagos/seccomp"  # gone with the next boot, and with it what an old kernel asked for
_MAX_BYTES = 4096 * 8  # seccomp(2): BPF_MAXINSNS instructions
_FLAGS = {"TSYNC": 1, "LOG": 2, "SPEC_ALLOW": 4}


@dataclass(frozen=True, slots=True)
class Filter:
    """A program of classic BPF, ready to be installed."""

    program: bytes
    flags: int = 0

    @property
    def size(self) -> int:
        """How many instructions it has."""
        return len(self.program) // bpf_syscalls.INSTRUCTION_BYTES

    def installing(self) -> Instruction:
        """Put it on the process, for good, beside those that are there.

        Needs no_new_privs, or CAP_SYS_ADMIN in the process' user namespace.
        """
        return instruction("filter_system_calls", self.program, self.flags)

    def install(self) -> None:
        """Do that, on the calling process. Raises OSError."""
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
    meaning = f"{libseccomp.version()} {platform.machine()} {profile!r}"
    return os.path.join(CACHE, hashlib.sha256(meaning.encode()).hexdigest())


def _kept(path: str) -> bytes:
    """A program that was kept; empty if there is none that we may trust."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        if not all(map(_is_ours, (os.stat(CACHE), os.fstat(fd)))):
            log.warning("%s can be written by others than root: not used", CACHE)
            return b""
        program = file.read(_MAX_BYTES + 1)
    return program if len(program) <= _MAX_BYTES and len(program) % bpf_syscalls.INSTRUCTION_BYTES == 0 else b""


def _keep(path: str, program: bytes) -> None:
    """Keep it for others; that it cannot be kept costs them the time only."""
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
