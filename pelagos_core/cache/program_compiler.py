"""Executes a program that compiles, and reads the code that it writes.

It is a child of the compiler's process, equally unprivileged. Its system call filter allows execve(2) and
threads, but no further process. The compiler's process reads the program's output and is therefore not trusted
either: the compile service reads only the output file, which it has opened itself.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator

from pelagos_core import reasons
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.config import size
from pelagos_core.errors import Internal, InvalidArgument, ResourceExhausted
from pelagos_core.exit_status import signal_name
from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.seccomp import filter_of
from pelagos_core.linux import child
from pelagos_core.linux.child import Child
from pelagos_core.linux.descriptor import Fd
from pelagos_core.plugin import program
from pelagos_core.plugin.program import SCRATCH, Compilation, Program

# Links are not followed, and the open of a FIFO does not wait.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY_BYTES = 1 << 24
_SAID_BYTES = 64 << 10  # of the end of its output


class Running:
    """A running program.

    said: a descriptor of the file for its stdout and stderr.
    """

    def __init__(self, child: Child, said: int) -> None:
        self.child = child
        self.said = said


class ProgramCompiler:
    """How one program compiles one module."""

    def __init__(self, compilation: Compilation, memory: int, *, confined: bool) -> None:
        """memory: limit in bytes, which includes the files in the root. confined: whether system calls are filtered.

        In the compile service. Raises FailedPrecondition without libseccomp.
        """
        self._compilation = compilation
        self._memory = memory
        self._filter = filter_of(engine_profile.COMPILER_PROGRAM) if confined else None

    @property
    def program(self) -> Program:
        """The program to execute, with its files."""
        return self._compilation.program

    def start(self, request: CompileRequest) -> Running:
        """Execute the program. In the compiler's process, isolated, before its own filter.

        Raises OSError, and Internal if the program cannot be executed.
        """
        os.chdir(SCRATCH)
        # An unnamed file, limited like all files of the root. A pipe would need a reader.
        said = os.open(SCRATCH, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        words = [self._compilation.program.path, *self._compilation.arguments]
        environment = {"HOME": SCRATCH, **self._compilation.environment}
        prepare = self._filter.install if self._filter else None
        try:
            return Running(child.execute(words, environment, {1: said, 2: said}, prepare), said)
        except OSError as error:
            what = f"{_what(request)}: {words[0]}: {error.strerror}"
            raise Internal(what, reasons.ENGINE_FAILED) from None

    def code(self, running: Running, request: CompileRequest) -> Iterator[bytes]:
        """Wait for the program to exit; yield the code that it has written, in chunks.

        Raises InvalidArgument if it refuses the module, ResourceExhausted if a limit has
        ended it, Internal for any other failure.
        """
        what = _what(request)
        self._check(running.child.reap(), running.said, request, what)
        with Fd(self._opened(what)) as file:
            length = os.fstat(file).st_size
            if length > self._memory:
                limit = size.describe(self._memory)
                raise ResourceExhausted(f"{what}: {size.describe(length)} of code, and compiling may take {limit}")
            while piece := os.read(file, _COPY_BYTES):
                yield piece

    def _check(self, ended: os.waitid_result, said: int, request: CompileRequest, what: str) -> None:
        killed, number = ended.si_code != os.CLD_EXITED, ended.si_status
        if killed and number == signal.SIGKILL:
            limit = size.describe(self._memory)
            raise ResourceExhausted(f"{what}: the program was killed, probably by its limit of {limit}")
        if killed:
            raise Internal(f"{what}: the program was ended by {signal_name(number)}", reasons.ENGINE_FAILED)
        if number == 0:
            return
        last = os.pread(said, _SAID_BYTES, max(0, os.fstat(said).st_size - _SAID_BYTES))
        fault = program.fault(self._compilation.invalid, last)
        if fault:
            raise InvalidArgument(f"{request.path!r} is not valid WebAssembly: {fault}")
        raise Internal(f"{what}: the program ended with {number}", reasons.ENGINE_FAILED)

    def _opened(self, what: str) -> int:
        """Open its output, which may be any kind of file. Raises Internal."""
        path = self._compilation.output
        try:
            file = os.open(path, _READ)
        except OSError as error:
            raise Internal(
                f"{what}: the program left no code: {path}: {error.strerror}", reasons.ENGINE_FAILED
            ) from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            raise Internal(f"{what}: the program left no code: {path} is empty or not a file", reasons.ENGINE_FAILED)
        return file


def _what(request: CompileRequest) -> str:
    return f"{request.path!r}: backend {request.backend.name!r}: compile"
