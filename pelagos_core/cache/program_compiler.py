"""A program that compiles: how it is started, and the code that it leaves.

It is a child of the compiler's process, as unprivileged, and under a system call filter by which it
can be executed and make threads, but no other process. What it leaves is read by its parent, which is
no more trusted than the program is: of both the compile service sees the file that it has opened itself.
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

# A link is not followed, and a FIFO does not make the open wait.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY_BYTES = 1 << 24
_SAID_BYTES = 64 << 10  # of what it printed last


class Running:
    """A program that runs.

    said: a descriptor of the file that it prints to.
    """

    def __init__(self, child: Child, said: int) -> None:
        self.child = child
        self.said = said


class ProgramCompiler:
    """How one program compiles one module."""

    def __init__(self, compilation: Compilation, memory: int, *, confined: bool) -> None:
        """memory: the limit, in bytes, for what is in the root too. confined: whether system calls are filtered.

        In the compile service. Raises FailedPrecondition without libseccomp.
        """
        self._compilation = compilation
        self._memory = memory
        self._filter = filter_of(engine_profile.COMPILER_PROGRAM) if confined else None

    @property
    def program(self) -> Program:
        """What is executed, with its files."""
        return self._compilation.program

    def start(self, request: CompileRequest) -> Running:
        """Execute the program. In the compiler's process, isolated, before its own filter.

        Raises OSError, and Internal if the program cannot be executed.
        """
        os.chdir(SCRATCH)
        # Without a name, and as bounded as all that is there. A pipe would have to be emptied.
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
        """Wait for the program's end; the code that it has left, piece by piece.

        Raises InvalidArgument for what it says of the module, ResourceExhausted where a limit has
        ended it, Internal for anything else that went wrong.
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
        """The file that it has left, which may be anything. Raises Internal."""
        path = self._compilation.output
        try:
            file = os.open(path, _READ)
        except OSError as error:
            raise Internal(
                f"{what}: the program left no code: {path}: {error.strerror}", reasons.ENGINE_FAILED
            ) from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            raise Internal(f"{what}: the program left no code: {path} is empty or no file", reasons.ENGINE_FAILED)
        return file


def _what(request: CompileRequest) -> str:
    return f"{request.path!r}: backend {request.backend.name!r}: compile"
