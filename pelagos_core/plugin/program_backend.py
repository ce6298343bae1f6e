"""Base class of a backend whose engine is a command-line program.

The program runs isolated in the container, in an engine root (see `program`), as a child of the
init process. The init process forwards its output and exit code, and distinguishes a trap from an exit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pelagos_core.errors import InvalidArgument, PelagosError
from pelagos_core.exit_status import signal_name
from pelagos_core.linux import child, credentials
from pelagos_core.linux.descriptor import Fd
from pelagos_core.linux.pidfd import open_child
from pelagos_core.plugin import program, wasi
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, RunningProcess, Trap, UnusableCode, Workload, hookimpl
from pelagos_core.plugin.program import COMPILED_MODULE, SCRATCH, Compilation, Program

_READ_BYTES = 64 << 10
_KEPT_BYTES = 64 << 10  # of the engine's last output: enough for the message and backtrace of a trap
_LINE_BYTES = 4 << 10
_STDERR = 2
_LINE_SECONDS = 0.02  # wait for the rest of a line: a program writes it in pieces, but it may be a guest's prompt
_END_SECONDS = 0.5  # wait for an engine to exit if its output looks like a trap
_HALF = 50  # the score of a file that runs with a missing feature
_PASSED_TO_ENGINE = frozenset({signal.SIGSTOP, signal.SIGCONT})
_KINDS = {Kind.MODULE: "module", Kind.COMPONENT: "component", Kind.WAT: "wat"}


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How to recognise a trap from the engine's exit code and its last output.

    stream: the descriptor to which the engine prints, 1 or 2.
    marker: matches the begin of the trap's text, anywhere in a line.
    traps: for each exit code that may mean a trap, the begin of the trap's text.
    line: matches the begin of each further line of the text; None if these lines may be any.

    The engine has trapped if its exit code is one of `traps`, and the text is the end of its output: after
    the line with the marker, there are only lines that match `line`. Both are checked when the engine has
    exited. The text is then written to the container's stderr.

    Output is forwarded at once, with two exceptions: an incomplete line is held back for 20 ms, and output
    that may be a trap's text, from the marker on, for half a second and up to 64 KiB. Text that was
    forwarded before the engine exited stays where it was written; the exit status is not affected.
    """

    stream: int
    marker: re.Pattern[bytes]
    traps: Mapping[int, bytes]
    line: re.Pattern[bytes] | None = None


class ProgramBackend:
    """A backend for an engine's program. A subclass sets the class variables and implements `arguments`.

    name: the program's name on the PATH.
    engine: the engine's name, for messages.
    remedy: how to install the program.
    features, limits, deviations: as in `Description`.
    imports, worlds, score: as in `Detection`.
    diagnostics: how the engine reports a trap; None if it exits with code 134.
    invalid: matches, in the output of `validation` and `compilation`, what is wrong with a module (group 1).
    code_name: the name of the file with compiled code; some programs determine its format from its suffix.
    version_arguments: the arguments with which the program prints its version; () if it cannot.
    """

    name = ""
    engine = ""
    remedy = ""
    score = 90
    features: frozenset[str] = frozenset({"module", "wasi-0.1", "read-only"})
    limits: frozenset[str] = frozenset()
    deviations: frozenset[str] = frozenset()
    imports: Mapping[str, Collection[str] | None] = {}
    worlds: Collection[str] = (wasi.COMMAND_0_2,)
    diagnostics: Diagnostics | None = None
    invalid = re.compile(r"(?s)(.+)")
    code_name = "code"
    version_arguments: tuple[str, ...] = ("--version",)

    def __init__(self) -> None:
        self.program: Program | None = None
        self.problem = "the backend has not been configured"

    def arguments(self, entrypoint: Entrypoint) -> list[str]:
        """Return the program's arguments for a guest. Called in the container's init process, before Start.

        `entrypoint.file_path` is the path of the module, or of its compiled code; in the second case,
        `entrypoint.code` is the same path instead of empty. The container's root is at `program.GUEST_ROOT`.
        Raises InvalidArgument if the program has no arguments for what the entry point needs.
        """
        raise NotImplementedError

    def validation(self, entrypoint: Entrypoint) -> list[str]:
        """Return the arguments with which the program validates a module or compiled code without running it.

        Empty if the program cannot do that; then an invalid module fails at Start instead of at Create.
        """
        return []

    def compilation(self, entrypoint: Entrypoint, output: str) -> list[str]:
        """Return the arguments with which the program compiles `entrypoint.file_path` to the file `output`.

        Empty if the program does not compile ahead of time. They may depend only on the fields of the entry
        point that `pelagos_compile` gets. The arguments and the program's identity are part of the code's key.
        """
        return []

    def environment(self, entrypoint: Entrypoint) -> dict[str, str]:
        """Return the engine's environment variables. Never add the guest's variables: the image sets them."""
        return {}

    def version(self, output: str) -> str:
        """Return the engine's version. output: what the program prints with `version_arguments`."""
        match = re.search(r"\d+\.\d+[^\s)]*", output)
        return match[0] if match else ""

    @hookimpl
    def pelagos_configure(self, settings: Mapping[str, object]) -> None:
        """Find the program and its files. The settings are `program` and `root`, see `program.find`."""
        unknown = sorted(settings.keys() - program.SETTINGS)
        if unknown:
            raise InvalidArgument(f"unknown setting {unknown[0]!r} (known: {', '.join(sorted(program.SETTINGS))})")
        self.find_program(settings)

    def find_program(self, settings: Mapping[str, object]) -> None:
        """Find the program; if it is missing, set `problem` instead of raising."""
        try:
            self.program, self.problem = program.find(self.name, settings), ""
        except PelagosError as error:
            self.program, self.problem = None, error.message

    @hookimpl
    def pelagos_describe(self) -> Description:
        """Describe the backend; the program is executed to read its version."""
        words = self.version_arguments if self.program else ()
        version = self.version(self.program.output(*words)) if self.program and words else ""
        remedy = self.remedy if self.problem else ""
        claims = (self.features, self.limits, self.problem, remedy, self.deviations)
        return Description(self.engine, version, "program", *claims)

    @hookimpl
    def pelagos_detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """Whether the program is installed and supports the file's kind; core compares the imports."""
        if self.program is None:
            return Detection.cannot(f"{self.problem}: {self.remedy}")
        if _KINDS.get(entrypoint.kind) not in self.features:
            return Detection.cannot(f"{self.engine} cannot run a {entrypoint.kind.value}")
        if entrypoint.func and "function" not in self.features:
            return Detection.cannot(f"{self.engine}'s program runs _start only, not {entrypoint.func!r}")
        what, score = f"{entrypoint.kind.value}, WASI 0.1, {self.program.source}", self.score
        if bundle.has_readonly_files and "read-only" not in self.features:
            what, score = f"{what}, but it cannot read read-only files", min(score, _HALF)
        return Detection.can(score, what, self.program, self.imports, self.worlds)

    @hookimpl
    def pelagos_code_key(self, entrypoint: Entrypoint) -> str | None:
        """The program's identity and its arguments; None if it does not compile this file ahead of time."""
        compilation = self._compilation(entrypoint)
        return compilation.key() if compilation else None

    @hookimpl
    def pelagos_compiler(self, entrypoint: Entrypoint) -> Compilation | None:
        """The program and the arguments with which it compiles."""
        return self._compilation(entrypoint)

    def _compilation(self, entrypoint: Entrypoint) -> Compilation | None:
        output = f"{SCRATCH}/{self.code_name}"
        words = self.compilation(replace(entrypoint, file_path=COMPILED_MODULE), output) if self.program else []
        return Compilation(self.program, tuple(words), output, self.invalid) if self.program and words else None

    @hookimpl
    def pelagos_spawn(self, entrypoint: Entrypoint) -> Workload:
        """Validate the module and build the command line; the workload executes it."""
        assert self.program is not None
        self._validate(self.program.path, entrypoint)
        words = [self.program.path, *self.arguments(entrypoint)]
        return functools.partial(_run, words, self.whole_environment(entrypoint), self.diagnostics)

    def whole_environment(self, entrypoint: Entrypoint) -> dict[str, str]:
        """`environment`, plus `Program.environment` if the guest may use the network. Pass it to execve(2)."""
        assert self.program is not None
        return self.environment(entrypoint) | (self.program.environment if entrypoint.network else {})

    def _validate(self, path: str, entrypoint: Entrypoint) -> None:
        arguments = self.validation(entrypoint)
        if not arguments:
            return
        environment = {"HOME": SCRATCH}
        done = subprocess.run([path, *arguments], env=environment, input=b"", capture_output=True, check=False)
        reason = program.fault(self.invalid, done.stdout + done.stderr) if done.returncode else ""
        if reason and entrypoint.code:
            raise UnusableCode(f"{self.engine} does not take the code of {entrypoint.path!r}: {reason}")
        if reason:
            raise InvalidArgument(f"{entrypoint.path!r} is not valid WebAssembly: {reason}")

    @hookimpl
    def pelagos_signal(self, process: RunningProcess, signum: int) -> None:
        """Send SIGSTOP and SIGCONT to the engine as well. Returns None, so the built-in hook runs too."""
        if signum in _PASSED_TO_ENGINE:
            with contextlib.suppress(OSError, ValueError):
                for engine in children(process.pid):
                    with Fd(open_child(engine, process.pid)) as pidfd:
                        signal.pidfd_send_signal(pidfd, signum)


def children(pid: int) -> list[int]:
    """The pids of a process's children. Raises OSError."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _run(words: list[str], environment: dict[str, str], diagnostics: Diagnostics | None) -> int:
    """Execute the engine, wait until it exits, and return the guest's exit code. In the container's init process.

    Raises Trap.
    """
    reader, writer = os.pipe() if diagnostics else (-1, -1)
    streams = {diagnostics.stream: writer} if diagnostics else {}
    try:
        engine = child.execute(words, environment, streams, end_with_init)
    except OSError as error:
        if error.filename != words[0]:
            raise  # fork or pipe failed: the program was not executed
        os.write(2, f"pelagos: {words[0]}: {error.strerror}\n".encode())
        return child.CANNOT_EXECUTE
    if diagnostics is None:
        return exit_code(engine.reap())
    os.close(writer)
    relay = _Relay(reader, diagnostics)
    relay.run()
    code = exit_code(engine.reap())
    relay.finish(code)
    return code


def end_with_init() -> None:
    """Let SIGKILL end the engine with its init process. Runs in the engine's process, before execve(2).

    In a shared pid namespace, the kernel does not kill it with the init process.
    """
    credentials.die_with_parent(signal.SIGKILL)


def exit_code(ended: os.waitid_result) -> int:
    """The exit code for an engine that was reaped; if a signal killed it, a line on stderr says so."""
    if ended.si_code != os.CLD_EXITED:
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: the engine was ended by {signal_name(ended.si_status)}\n".encode())
        return 128 + ended.si_status
    return ended.si_status


class _Relay:
    """Forwards a stream of the engine, and keeps the end of it to recognise a trap.

    _words: the last bytes that were read.
    _unsent: the number of bytes at the end of _words that have not been forwarded.
    _since: when the first of these was read, in monotonic seconds.
    """

    def __init__(self, source: int, diagnostics: Diagnostics) -> None:
        self._source = source
        self._diagnostics = diagnostics
        self._words = b""
        self._unsent = 0
        self._since = 0.0

    def run(self) -> None:
        """Forward the stream until its end, or until its reader has closed it."""
        try:
            while chunk := self._read():
                self._words = (self._words + chunk)[-max(_KEPT_BYTES, self._unsent + len(chunk)) :]
                self._since = self._since if self._unsent else time.monotonic()
                self._unsent += len(chunk)
                self._send(self._held())
        except OSError:
            self._unsent = 0  # closing the pipe gives the engine SIGPIPE, as without a relay
        os.close(self._source)

    def finish(self, code: int) -> None:
        """Forward the rest; raise Trap if the exit code and the last output mean a trap."""
        begin = self._last_words()
        text = b"" if begin is None else self._words[begin:]
        trapped = bool(text) and text.startswith(self._diagnostics.traps.get(code, text + b"?"))
        rest = min(len(text), self._unsent) if trapped else 0
        with contextlib.suppress(OSError):
            self._send(rest)
        if trapped:  # the part that was forwarded to stderr must not be printed twice
            raise Trap(
                (text[len(text) - rest :] if self._diagnostics.stream == _STDERR else text).decode("utf-8", "replace")
            )

    def _read(self) -> bytes:
        """Read the next bytes; if none arrive in time, forward the bytes that were held back."""
        if self._unsent:
            begin = self._last_words()
            seconds = _LINE_SECONDS if begin is None else _END_SECONDS
            left = self._since + seconds - time.monotonic()
            if not select.select([self._source], [], [], max(0.0, left))[0]:
                self._send(0)
        return os.read(self._source, _READ_BYTES)

    def _held(self) -> int:
        """The number of bytes at the end that may be the text of a trap."""
        begin = self._last_words()
        if begin is not None:
            length = len(self._words) - begin
            return length if length <= min(self._unsent, _KEPT_BYTES) else 0
        line = len(self._words) - self._words.rfind(b"\n") - 1
        return min(line, self._unsent) if line <= _LINE_BYTES else 0

    def _last_words(self) -> int | None:
        """The index in _words of a trap's text that extends to the end of the output; None if there is none."""
        begin, offset, like = None, len(self._words) + 1, self._diagnostics.line
        if like is None:
            match = self._diagnostics.marker.search(self._words)
            return match.start() if match else None
        for number, line in enumerate(reversed(self._words.split(b"\n"))):
            offset -= len(line) + 1
            if match := self._diagnostics.marker.search(line):
                begin = offset + match.start()
            if number and line and not like.match(line):
                break
        return begin

    def _send(self, kept: int) -> None:
        """Forward the unsent bytes except the last `kept` ones."""
        size = len(self._words)
        data, self._unsent = memoryview(self._words)[size - self._unsent : size - kept], kept
        while data:
            data = data[os.write(self._diagnostics.stream, data) :]
