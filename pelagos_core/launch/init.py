"""A container's process with an interpreter, from the fork to its end: isolate, load, report, wait, run, _exit.

It is a fork of the daemon. So it ends by os._exit only, and does not use the daemon's objects: it first
closes all descriptors but its own.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from pelagos_core import reasons
from pelagos_core.backends.registry import Backend
from pelagos_core.backends.selection import Choice, Selection
from pelagos_core.cache.known_module import learnt
from pelagos_core.errors import InvalidArgument, PelagosError, Unimplemented, to_fields, with_reason
from pelagos_core.images.artifact import Descriptor
from pelagos_core.isolation import engine_root
from pelagos_core.isolation.filesystem import CheckEngineShield
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.plan import Plan
from pelagos_core.isolation.state import CODE_DIRECTORY, CONTAINER, CONTROL, ENTRYPOINT, MASTER, State
from pelagos_core.isolation.streams import FIRST, STREAMS
from pelagos_core.launch import home, lookup, memory, messages, oci_hooks, preopens
from pelagos_core.launch.guest_steps import TRAP, TRAPPED
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Created,
    Failed,
    Learnt,
    Listening,
    Message,
    Terminal,
    Unusable,
    Wanted,
)
from pelagos_core.oci import Hook
from pelagos_core.plugin import sockets
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import CODE, Entrypoint
from pelagos_core.plugin.hookspecs import GuestExit, RestartingServer, Server, Spawned, Trap, UnusableCode, Workload
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.program import Program
from pelagos_core.reasons import because
from pelagos_core.rootfs.root import Root

_NO_PROGRAMS = "hooks.startContainer: a Wasm engine's seccomp filter refuses the system calls that start programs"
_CONTROL = FIRST


@dataclass(frozen=True, slots=True)
class JoinTarget:
    """A running container to join, by its init process: pidfd; word: args[0]; image: as in `Launched`."""

    pidfd: int
    word: str = ""
    image: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """The arguments of a launch, inherited by the fork.

    control: the process' end of a SOCK_SEQPACKET pair. stdio: descriptors for 0, 1 and 2.
    join_target: the container to join; None for an init process.
    selection: chooses a backend while the host's files are accessible.
    limits: the limits that the engine must enforce.
    learns: whether to send Learnt, the record of the entry point.
    module: descriptor of the entry point, if it is not a file of the container; else -1.
    """

    bundle: Bundle
    plan: Plan
    control: socket.socket
    stdio: tuple[int, int, int]
    selection: Selection
    limits: Limits
    join_target: JoinTarget | None = None
    learns: bool = False
    module: int = -1

    @property
    def terminal(self) -> bool:
        """Whether `stdio` is a terminal."""
        return self.bundle.spec.process.terminal

    def state(self) -> State:
        """The initial slots of the process' plan: the root is not opened yet."""
        slots = dict(zip((CONTROL, *STREAMS), (self.control.fileno(), *self.stdio), strict=True))
        if self.join_target is not None:
            slots[CONTAINER] = self.join_target.pidfd
        if self.module >= 0:
            slots[ENTRYPOINT] = self.module
        return State(Root(self.bundle.root), slots)


def run(request: LaunchRequest) -> NoReturn:
    """Run the process. Called right after the fork, in the child; never returns."""
    # The daemon's objects must not be finalised here: that would close descriptors whose numbers are reused.
    gc.disable()
    # The interpreter's wakeup descriptor for signals is the daemon's; its number will be reused too.
    signal.set_wakeup_fd(-1)
    code = 1
    try:
        plan, state = request.plan, request.state()
        execute(plan.begin, state)
        workload = _prepare(request, state)
        if _wait_for_start(request, state):
            code = _exit_code(workload)
            execute(plan.end, state)
    finally:
        os._exit(code)


def _prepare(request: LaunchRequest, state: State) -> Workload:
    plan, root = request.plan, state.root
    try:
        execute(plan.outside, state)
        if plan.second_stage is not None:
            execute((plan.second_stage,), state)  # continues in the second process
        execute(plan.assemble, state)
        file = _entrypoint(request, state)
        steps = plan.of(file.kind)
        execute(steps.complete, state)
        if file.kind.is_native:
            _hand_over_terminal(state)
            file = replace(file, env=home.completed(file.env, root, request.bundle.spec.process.user.uid))
        else:
            with because(reasons.SPEC):
                file = _narrowed(file, request, root)
        backend, choice = _choose(request, file)
        program = choice.detections[backend.name].program
        settings = _code_key(backend, file)
        if request.learns:
            _report_learnt(file, choice, settings)
        code = None if settings is None else _compiled(backend, file, settings)
        if program is not None:
            steps = plan.program
            file, code = _enclosed(program, file, code, request, state), None
        hooks_state = _run_creating_hooks(request, None if file.kind.is_native else state)
        execute(steps.seal, state)
        with because(reasons.ENTRYPOINT if file.kind.is_native else reasons.MODULE):
            spawned, warnings = _spawn(backend, request.bundle, file, code)
        workload = _warned(_withheld(spawned, program, file.file_path, state), warnings)
        if hooks_state:
            hooks = request.bundle.spec.hooks.start_container
            workload = functools.partial(_run_starting_hooks, hooks, hooks_state, workload)
    except UnusableCode as error:
        _report(Unusable(backend.name, str(error)))
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 (every error is reported to the daemon)
        _report(Failed(*to_fields(error)))
        if not isinstance(error, PelagosError):
            traceback.print_exc()
        os._exit(1)
    _report(Created(backend.name, choice.reason, program is not None, isinstance(spawned, Server | RestartingServer)))
    return workload


def _entrypoint(request: LaunchRequest, state: State) -> Entrypoint:
    """Return the opened entry point: a file in the container's root, or the file that the daemon has passed."""
    process = request.bundle.spec.process
    with because(reasons.ENTRYPOINT):
        if request.module >= 0:
            return lookup.given(state.get(ENTRYPOINT), process, request.limits)
        file = lookup.find(state.root, process, request.limits)
    state.descriptors[ENTRYPOINT] = file.file
    return file


def _enclosed(program: Program, file: Entrypoint, code: int | None, request: LaunchRequest, state: State) -> Entrypoint:
    """Enclose the root in an engine root; return the entry point for the program."""
    if code is not None:
        state.descriptors[CODE_DIRECTORY] = code
    path, compiled = engine_root.module_path(program, file.path), code is not None
    steps = engine_root.assembling(program, path, request.plan.uid, compiled=compiled)
    execute((*request.plan.program.complete, *steps), state)
    return engine_root.entered(file, path, compiled=compiled)


def _hand_over_terminal(state: State) -> None:
    """Send the daemon the master of a terminal of the container's devpts, if there is one."""
    if MASTER not in state.descriptors:
        return
    master = state.take(MASTER)
    with socket.socket(fileno=os.dup(_CONTROL)) as control:
        socket.send_fds(control, [messages.encode(Terminal())], [master])
    os.close(master)


def _run_creating_hooks(request: LaunchRequest, shielded: State | None) -> bytes:
    """Request the createRuntime hooks from the daemon, then run the createContainer hooks.

    shielded: the state of a Wasm guest, whose mounts are checked again, since a hook may mount anything.
    Returns the OCI state for later hooks: after the change of root, /proc does not show the pid on the host.
    """
    hooks = request.bundle.spec.hooks
    if request.join_target is not None or not (hooks.while_creating or hooks.start_container):
        return b""
    if shielded is not None and hooks.start_container and request.bundle.policy.confines_engines:
        raise Unimplemented(_NO_PROGRAMS, reasons.HOOK)
    pid = int(os.readlink("/proc/self"))
    if hooks.while_creating:
        _report(Assembled())
        if os.read(_CONTROL, len(messages.GO)) != messages.GO:
            os._exit(1)
        oci_hooks.run(hooks.create_container, oci_hooks.state(request.bundle, "creating", pid), request.bundle.path)
        if shielded is not None:
            execute((CheckEngineShield(),), shielded)
    return oci_hooks.state(request.bundle, "created", pid)


def _run_starting_hooks(hooks: tuple[Hook, ...], state: bytes, workload: Workload) -> int:
    """Run the startContainer hooks, after Start, in the container and as its user."""
    try:
        oci_hooks.run(hooks, state)
    except PelagosError as error:
        _write_stderr(f"pelagos: {error}")
        return 1
    return workload()


def _choose(request: LaunchRequest, file: Entrypoint) -> tuple[Backend, Choice]:
    selection = replace(request.selection, asking=lambda name: _report(Asking(name, "detect")))
    choice = selection.choose(request.bundle, file)
    if choice.backend is None:
        raise selection.refusal(file, choice)
    return choice.backend, choice


def _code_key(backend: Backend, file: Entrypoint) -> str | None:
    """The backend's part of the key of compiled code; None if it is not compiled ahead of time."""
    if not backend.compiles:
        return None
    _report(Asking(backend.name, "code_key"))
    return backend.code_key(file)


def _report_learnt(file: Entrypoint, choice: Choice, settings: str | None) -> None:
    """Send the daemon the record of the file, if there is one. Called before an engine has read the file."""
    known = learnt(file, choice, settings, warns=preopens.may_be_elsewhere(file))
    if known is not None:
        _report(Learnt(file.digest, known))


def _compiled(backend: Backend, file: Entrypoint, settings: str) -> int:
    """Request the compiled code from the daemon; return a descriptor of its directory.

    Called before an engine has read any byte of the guest, so that the daemon can trust the request.
    """
    wanted = messages.encode(Wanted(backend.name, file.path, file.digest, settings))
    control = socket.socket(fileno=_CONTROL)
    try:
        socket.send_fds(control, [wanted], [file.file])
        answer, fds, _, _ = socket.recv_fds(control, len(messages.CODE), 1, socket.MSG_CMSG_CLOEXEC)
    finally:
        control.detach()
    if answer != messages.CODE or not fds:
        os._exit(1)  # the daemon has ended
    return fds[0]


def _spawn(backend: Backend, bundle: Bundle, file: Entrypoint, code: int | None) -> tuple[Spawned, list[str]]:
    """Let the backend load the guest. Returns its workload, and warnings to write to stderr at Start."""
    _report(Asking(backend.name, "spawn"))
    if code is not None:
        # The code's directory has no path in the container, so it is made the working directory.
        os.fchdir(code)
        file = replace(file, code=CODE)
    spawned = backend.spawn(bundle, file)
    if code is not None:
        os.chdir("/")
        os.close(code)
    warnings = [] if file.kind.is_native else [preopens.warning(file), _network_warning(file)]
    os.close(file.file)
    return spawned, list(filter(None, warnings))


def _withheld(spawned: Spawned, program: Program | None, path: str, state: State) -> Workload:
    """Return the function to call at Start.

    For an engine that is a program, the module at `path` is moved out of the engine's root until the program's
    own files are removed from it.
    """
    kept = engine_root.KeepModuleBack(program, path, isinstance(spawned, RestartingServer)) if program else None
    if kept:
        execute((kept,), state)
    if isinstance(spawned, RestartingServer):
        run = spawned.run
        return _serving(lambda listening: run(listening, lambda: kept.again(state) if kept else None))
    return _serving(spawned.run) if isinstance(spawned, Server) else spawned


def _serving(serve: Callable[[Callable[[], None]], int]) -> Workload:
    """A workload that sends the daemon Listening when the server accepts connections, or Failed."""
    control = os.dup(_CONTROL)  # the plan's last step may close the other one
    reported = False

    def report(message: Message) -> None:
        nonlocal reported
        if not reported:
            reported = True
            with contextlib.suppress(OSError):  # the daemon has ended
                os.write(control, messages.encode(message))
            os.close(control)

    def run() -> int:
        try:
            return serve(lambda: report(Listening()))
        except PelagosError as error:
            _write_stderr(f"pelagos: {error}")  # before Failed: the daemon kills a server that has failed
            report(Failed(*to_fields(error)))
            return 1

    return run


def _warned(workload: Workload, lines: list[str]) -> Workload:
    """Return a workload that first writes these lines to stderr."""

    def run() -> int:
        for line in lines:
            _write_stderr(line)
        return workload()

    return run if lines else workload


def _network_warning(file: Entrypoint) -> str:
    """A warning for a module that waits for connections and cannot get any; else empty."""
    with contextlib.suppress(InvalidArgument):  # the engine has reported the error
        if sockets.waits_in_vain(file.interface):
            return sockets.vain(file.path)
    return ""


def _narrowed(file: Entrypoint, request: LaunchRequest, root: Root) -> Entrypoint:
    """Return the entry point with the environment, directories and network that the container's policy allows."""
    policy = request.bundle.policy
    limit = memory.live(request.plan.cgroup, _CONTROL, _write_stderr) if request.limits.memory is not None else None
    env = preopens.variables(policy.variables(file.env), file.cwd, root)
    return replace(file, env=env, directories=preopens.of(request.bundle), network=policy.network, memory=limit)


def _report(message: Message) -> None:
    # os.write on a SEQPACKET socket is one datagram, and needs no socket object.
    os.write(_CONTROL, messages.encode(message))


def _wait_for_start(request: LaunchRequest, state: State) -> bool:
    """Wait for Start. Returns False if the daemon has ended, possibly before prctl(2) set the parent-death signal."""
    execute(request.plan.ready, state)
    if request.terminal:  # ReportSignals has set O_NONBLOCK on the socket
        select.select([_CONTROL], [], [])
    go = os.read(_CONTROL, len(messages.GO)) == messages.GO
    sys.stdout.flush()  # a backend's output so far must not appear in the guest's
    execute(request.plan.start, state)
    return go


def _exit_code(workload: Callable[[], object]) -> int:
    code: object
    try:
        code = workload()
    except GuestExit as error:
        code = error.code
    except Trap as error:
        _write_stderr(with_reason(f"{error}\n{TRAPPED}".lstrip("\n"), reasons.TRAP))
        return TRAP
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else TRAP
    except BaseException as error:  # noqa: BLE001 (any exception of the engine ends the guest)
        _write_stderr(with_reason(f"pelagos: {type(error).__name__}: {error}", reasons.ENGINE_FAILED))
        return TRAP
    if not isinstance(code, int):
        _write_stderr(
            with_reason(f"pelagos: the backend's workload returned {code!r}, not an exit code", reasons.ENGINE_FAILED)
        )
        return TRAP
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    return code & 0xFF


def _write_stderr(text: str) -> None:
    with contextlib.suppress(OSError):  # a full or closed stderr does not change the exit code
        os.write(2, f"{text.rstrip()}\n".encode("utf-8", "replace"))
