"""The compiler's process: unprivileged, limited, in an empty root, with access to the module only.

Guest bytes are untrusted, and a compiler is a large program. An attacker that controls the compiler can alter only the
code of this one module, which runs in a container anyway: the process has no files except
the module and its output, no network, no other processes, no privileges, and only the system calls for
compiling. Its parent reads one short line from it. It is killed after its time limit.
An engine that is a program runs as its child, under the same isolation: see `program_compiler`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal

from pelagos_core import reasons
from pelagos_core.cache.compile_request import CompileRequest
from pelagos_core.cache.program_compiler import ProgramCompiler
from pelagos_core.config import size
from pelagos_core.errors import DeadlineExceeded, Internal, ResourceExhausted, from_fields, to_fields
from pelagos_core.exit_status import ending
from pelagos_core.isolation import engine_profile
from pelagos_core.isolation.compiler_plan import COMPILED, MODULE, REPORT, compiler_plan
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.isolation.state import State
from pelagos_core.linux import child, credentials, syscalls
from pelagos_core.native.process_name import rename
from pelagos_core.rootfs.root import Root

_MAX_REPORT = 64 << 10
_MAX_TEXT = 4 << 10
_EXIT_SECONDS = 2.0  # for a process to exit after it has closed its report


def compile(request: CompileRequest, module: int, output: int, empty: str) -> None:
    """Compile `module` into the file `output`, in a separate process; return when that has ended.

    empty: the path of an empty directory, which becomes the process' root.
    In the compile service, which is trusted. Raises PelagosError: the backend's error, the reason for which the
    process has ended, or FailedPrecondition if there is no libseccomp for its filter.
    """
    confinement = filter_of(engine_profile.COMPILER) if request.confined else None
    compilation = request.backend.compilation(request.entrypoint(module))
    program = ProgramCompiler(compilation, request.cache.memory, confined=request.confined) if compilation else None

    def run(report: int) -> int:
        return _compile(request, program, confinement, (module, output, report), empty)

    # The kernel kills its descendants when the first process of their pid namespace ends: once that
    # is reaped, no process is left that could write to the output.
    with child.fork_reporting(run, syscalls.CLONE_NEWPID) as process:
        report = process.read_all(_MAX_REPORT, request.cache.seconds)
        ended = process.end(0.0 if report is None else _EXIT_SECONDS)
    _check(request, report, ended)


def _check(request: CompileRequest, report: bytes | None, ended: os.waitid_result) -> None:
    """Raise the error of a failed compilation. report: of the process; None after the time limit."""
    what = f"{request.path!r}: backend {request.backend.name!r}"
    if report is None:
        raise DeadlineExceeded(f"{what} did not compile it in {request.cache.seconds} s")
    if ended.si_code != os.CLD_EXITED:
        if ended.si_status == signal.SIGKILL:
            raise ResourceExhausted(
                f"{what} was killed while it compiled, probably by its limit of {size.describe(request.cache.memory)}"
            )
        raise Internal(f"{what} failed in compile: {ending(ended)}", reasons.ENGINE_FAILED)
    try:
        code, text, reason = json.loads(report)
        if [type(code), type(text), type(reason)] != [int, str, str]:
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise Internal(f"{what} failed in compile: the process was lost", reasons.ENGINE_FAILED) from None
    if code:
        raise from_fields(code, text, reason if reason in reasons.ALL else "")  # not a backend's own code


def _compile(
    request: CompileRequest,
    program: ProgramCompiler | None,
    confinement: Filter | None,
    files: tuple[int, int, int],
    empty: str,
) -> int:
    """Compile and report the result. In the child. files: as in `_isolate`."""
    module, output, report = files
    code, said = 1, (0, "", "")
    try:
        rename("pelagos-compiler")
        _isolate(request, program, empty, files)
        running = program.start(request) if program else None  # before the filter, which forbids new processes
        if confinement:
            confinement.install()
        if program and running:
            for piece in program.code(running, request):
                _write(output, piece)
        else:
            _write(output, request.backend.compile(request.entrypoint(module)))
        code = 0
    except BaseException as error:  # noqa: BLE001 (every error is reported to the compile service)
        said = to_fields(error)
    with contextlib.suppress(OSError):
        os.write(report, json.dumps([said[0], said[1][:_MAX_TEXT], said[2]]).encode())
    return code


def _isolate(request: CompileRequest, program: ProgramCompiler | None, empty: str, files: tuple[int, int, int]) -> None:
    """Isolate the calling process. files: descriptors of the module, the output, and the report to the parent."""
    user = credentials.unprivileged()  # before the root is changed: it reads /proc
    steps = compiler_plan(user, request.cache.memory, program.program if program else None)
    execute(steps, State(Root(empty), dict(zip((MODULE, COMPILED, REPORT), files, strict=True))))


def _write(output: int, code: bytes | bytearray | memoryview) -> None:
    rest = memoryview(code).cast("B")
    while rest:
        rest = rest[os.write(output, rest) :]
