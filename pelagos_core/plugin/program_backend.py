"""Base class of a backend whose engine is a command-line program.

The program runs in the container's isolation, in an engine root (see `program`), as a child of
the init process, which passes its streams and exit code on, and distinguishes a trap from an exit.
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
_KEPT_BYTES = 64 << 10  # of what the engine printed last; its text for a trap is a backtrace at the longest
_LINE_BYTES = 4 << 10
_STDERR = 2
_LINE_SECONDS = 0.02  # for the rest of a line to come: a program writes it in pieces, a guest may be prompting
_END_SECONDS = 0.5  # for an engine to end that seems to have reported a trap
_HALF = 50  # a score: it runs, with something missing
_PASSED_TO_ENGINE = frozenset({signal.SIGSTOP, signal.SIGCONT})
_KINDS = {Kind.MODULE: "module", Kind.COMPONENT: "component", Kind.WAT: "wat"}


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How to tell a trap by what the engine prints last, together with its exit code.

    stream: 1 or 2, where it prints. marker: matches, within a line, where its text begins.
    traps: for each exit code that may mean a trap, how the text begins then.
    line: what each further line of the text begins with; None if it may be any.

    It is a trap if the exit code is one of `traps` and the text is the last that was printed: after
    the line of the marker come only lines like `line`. Both are looked at when the engine has ended.
    The text goes to the container's stderr then. Output is passed on as it comes; what is held is a line
    without its end, for 20 ms, and from a marker on what may be the text, for half a second and up to
    64 KiB. Text that has been passed on by then is not taken back, and the exit status is the same.
    """

    stream: int
    marker: re.Pattern[bytes]
    traps: Mapping[int, bytes]
    line: re.Pattern[bytes] | None = None


class ProgramBackend:
    """A backend for an engine's program; a subclass fills in the class variables and `arguments`.

    name: the program's name on the PATH. engine: the engine's, for a person.
    remedy: how to get it. features, limits, deviations: as in `Description`.
    imports, worlds: what the engine provides and starts, as in `Detection`.
    score: for `Detection`. diagnostics: how it reports a trap; None if exit code 134 is enough.
    invalid: finds in the output of `validation` and `compilation` what is wrong with a module.
    code_name: what the file with compiled code is called; some programs tell its form by that.
    version_arguments: with which the program prints its version; () if it does not.
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
        self.problem = "it has not been configured"

    def arguments(self, entrypoint: Entrypoint) -> list[str]:
        """The program's arguments. In the container, before Start.

        `entrypoint.file_path` is the module, or what has been compiled of it: then `entrypoint.code`
        is the same path, and not empty. The container's root is at `program.GUEST_ROOT`.
        Raises InvalidArgument for what cannot be expressed.
        """
        raise NotImplementedError

    def validation(self, entrypoint: Entrypoint) -> list[str]:
        """The arguments with which the program checks a module, or compiled code, and runs nothing of it.

        Empty if it cannot; a bad module is found out at Start only then.
        """
        return []

    def compilation(self, entrypoint: Entrypoint, output: str) -> list[str]:
        """The arguments with which the program compiles `entrypoint.file_path` to the file `output`.

        Empty if it does not, or not ahead of time. Of the entry point nothing counts but what
        `pelagos_compile` is given. What they are is in the code's key, as is which file the program is.
        """
        return []

    def environment(self, entrypoint: Entrypoint) -> dict[str, str]:
        """The engine's own environment: never the guest's, which comes from the image."""
        return {}

    def version(self, output: str) -> str:
        """The engine's version, from what it prints with `version_arguments`."""
        match = re.search(r"\d+\.\d+[^\s)]*", output)
        return match[0] if match else ""

    @hookimpl
    def pelagos_configure(self, settings: Mapping[str, object]) -> None:
        """Find the program and what it needs. `program` and `root` are the settings."""
        unknown = sorted(settings.keys() - program.SETTINGS)
        if unknown:
            raise InvalidArgument(f"unknown setting {unknown[0]!r} (known: {', '.join(sorted(program.SETTINGS))})")
        self.find_program(settings)

    def find_program(self, settings: Mapping[str, object]) -> None:
        """Look for the program; `problem` says if it is not there."""
        try:
            self.program, self.problem = program.find(self.name, settings), ""
        except PelagosError as error:
            self.program, self.problem = None, error.message

    @hookimpl
    def pelagos_describe(self) -> Description:
        """What it is, with the version that the program prints."""
        words = self.version_arguments if self.program else ()
        version = self.version(self.program.output(*words)) if self.program and words else ""
        remedy = self.remedy if self.problem else ""
        claims = (self.features, self.limits, self.problem, remedy, self.deviations)
        return Description(self.engine, version, "program", *claims)

    @hookimpl
    def pelagos_detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """Whether the program is there, and the file is of a kind and with imports that it knows."""
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
        """The program itself and its arguments; None if it does not compile this one ahead of time."""
        compilation = self._compilation(entrypoint)
        return compilation.key() if compilation else None

    @hookimpl
    def pelagos_compiler(self, entrypoint: Entrypoint) -> Compilation | None:
        """The program and its arguments."""
        return self._compilation(entrypoint)

    def _compilation(self, entrypoint: Entrypoint) -> Compilation | None:
        output = f"{SCRATCH}/{self.code_name}"
        words = self.compilation(replace(entrypoint, file_path=COMPILED_MODULE), output) if self.program else []
        return Compilation(self.program, tuple(words), output, self.invalid) if self.program and words else None

    @hookimpl
    def pelagos_spawn(self, entrypoint: Entrypoint) -> Workload:
        """Put the command line together; the workload runs it."""
        assert self.program is not None
        self._validate(self.program.path, entrypoint)
        words = [self.program.path, *self.arguments(entrypoint)]
        return functools.partial(_run, words, self.whole_environment(entrypoint), self.diagnostics)

    def whole_environment(self, entrypoint: Entrypoint) -> dict[str, str]:
        """`environment`, and what a program needs that may use the network. For whatever executes it with a guest."""
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
        """Stop and continue the engine itself too; the built-in hook goes on with the rest."""
        if signum in _PASSED_TO_ENGINE:
            with contextlib.suppress(OSError, ValueError):
                for engine in children(process.pid):
                    with Fd(open_child(engine, process.pid)) as pidfd:
                        signal.pidfd_send_signal(pidfd, signum)


def children(pid: int) -> list[int]:
    """The children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _run(words: list[str], environment: dict[str, str], diagnostics: Diagnostics | None) -> int:
    """Run the engine to its end, in the container's init process; the guest's exit code.

    Raises Trap.
    """
    reader, writer = os.pipe() if diagnostics else (-1, -1)
    streams = {diagnostics.stream: writer} if diagnostics else {}
    try:
        engine = child.execute(words, environment, streams, end_with_init)
    except OSError as error:
        if error.filename != words[0]:
            raise  # no process or pipe is left: it was not tried
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
    """In the engine's process. Where the pid namespace is shared, the kernel does not end it with init."""
    credentials.die_with_parent(signal.SIGKILL)


def exit_code(ended: os.waitid_result) -> int:
    """The exit code for how an engine's process has ended; of a signal there is a line on stderr."""
    if ended.si_code != os.CLD_EXITED:
        with contextlib.suppress(OSError):
            os.write(2, f"pelagos: the engine was ended by {signal_name(ended.si_status)}\n".encode())
        return 128 + ended.si_status
    return ended.si_status


class _Relay:
    """Passes a stream of the engine on, and keeps its last words.

    _words: the last that was read. _unsent: so many bytes at their end have not been passed on yet,
    the first of them since _since.
    """

    def __init__(self, source: int, diagnostics: Diagnostics) -> None:
        self._source = source
        self._diagnostics = diagnostics
        self._words = b""
        self._unsent = 0
        self._since = 0.0

    def run(self) -> None:
        """Copy up to the end of the stream, or until nothing reads it any more."""
        try:
            while chunk := self._read():
                self._words = (self._words + chunk)[-max(_KEPT_BYTES, self._unsent + len(chunk)) :]
                self._since = self._since if self._unsent else time.monotonic()
                self._unsent += len(chunk)
                self._send(self._held())
        except OSError:
            self._unsent = 0  # the engine gets SIGPIPE, as it would without us
        os.close(self._source)

    def finish(self, code: int) -> None:
        """Pass the rest on, and raise Trap if that exit code and the last words are a trap's."""
        begin = self._last_words()
        text = b"" if begin is None else self._words[begin:]
        trapped = bool(text) and text.startswith(self._diagnostics.traps.get(code, text + b"?"))
        rest = min(len(text), self._unsent) if trapped else 0
        with contextlib.suppress(OSError):
            self._send(rest)
        if trapped:  # what has been passed on to stderr is there already
            raise Trap(
                (text[len(text) - rest :] if self._diagnostics.stream == _STDERR else text).decode("utf-8", "replace")
            )

    def _read(self) -> bytes:
        """The next bytes; what is held is passed on if they do not come in time."""
        if self._unsent:
            begin = self._last_words()
            seconds = _LINE_SECONDS if begin is None else _END_SECONDS
            left = self._since + seconds - time.monotonic()
            if not select.select([self._source], [], [], max(0.0, left))[0]:
                self._send(0)
        return os.read(self._source, _READ_BYTES)

    def _held(self) -> int:
        """How many bytes at the end may still turn out to be the text of a trap."""
        begin = self._last_words()
        if begin is not None:
            length = len(self._words) - begin
            return length if length <= min(self._unsent, _KEPT_BYTES) else 0
        line = len(self._words) - self._words.rfind(b"\n") - 1
        return min(line, self._unsent) if line <= _LINE_BYTES else 0

    def _last_words(self) -> int | None:
        """Where the text of a trap would begin that is the last that was printed."""
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
        """Pass on what is unsent but for `kept` bytes at the end."""
        size = len(self._words)
        data, self._unsent = memoryview(self._words)[size - self._unsent : size - kept], kept
        while data:
            data = data[os.write(self._diagnostics.stream, data) :]
