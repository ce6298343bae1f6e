"""A process of a container, from the fork to its end: isolate, load, report, wait, run, _exit.

It is a copy of the daemon, so it leaves by os._exit only and touches nothing of the
daemon's: every descriptor but its own is closed first.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import select
import socket
import stat
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from pelagos_core import reasons
from pelagos_core.backends.registry import Backend
from pelagos_core.backends.selection import Selection
from pelagos_core.errors import Internal, PelagosError, Unimplemented, to_fields, with_reason
from pelagos_core.isolation import engine_files
from pelagos_core.isolation.filesystem import EnterEngineRoot
from pelagos_core.isolation.operation import CONTAINER, Operation
from pelagos_core.isolation.plan import Plan
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.launch import home, lookup, memory, messages, oci_hooks, preopens, terminal
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Created,
    Failed,
    Message,
    SecondStage,
    Terminal,
    Unusable,
    Wanted,
)
from pelagos_core.linux import forked, syscalls
from pelagos_core.linux.process_name import set_name
from pelagos_core.oci import Hook
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import CODE, Entrypoint, split_func
from pelagos_core.plugin.hookspecs import GuestExit, Trap, UnusableCode, Workload
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.program import GUEST_ROOT, Program
from pelagos_core.reasons import because
from pelagos_core.rootfs import kernel_views
from pelagos_core.rootfs.joined_root import JoinedRoot
from pelagos_core.rootfs.root import Root

TRAP = 134  # 128 + SIGABRT, as for a native program that aborts; 137 would look like an OOM kill

_NO_PROGRAMS = "hooks.startContainer: system calls that start programs are kept from a Wasm engine (seccomp)"
_CONTROL = 3
_STDIO = (4, 5, 6)
_FIRST_FREE = CONTAINER + 1


@dataclass(frozen=True, slots=True)
class JoinTarget:
    """The way into a running container.

    pidfd: of its init process. enclosed: whether its root is below an engine root.
    """

    pidfd: int
    enclosed: bool


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Everything that a process is told by the fork.

    control: its end of a SOCK_SEQPACKET pair. stdio: descriptors for 0, 1 and 2.
    door: into the container that it joins; None for the init process, which makes one.
    selection: chooses a backend while the host's files are in reach.
    limits: what the engine should hold the guest to.
    """

    bundle: Bundle
    plan: Plan
    control: socket.socket
    stdio: tuple[int, int, int]
    selection: Selection
    limits: Limits
    join_target: JoinTarget | None = None

    @property
    def terminal(self) -> bool:
        """Whether `stdio` is a terminal."""
        return self.bundle.spec.process.terminal

    @property
    def listens(self) -> bool:
        """Whether the daemon goes on listening to a guest that runs: to keys, to a refusal of memory."""
        return self.terminal or self.limits.memory is not None

    def root(self) -> Root:
        """The root of the process, not opened yet. After the descriptors have been moved."""
        path = self.bundle.root
        if self.join_target is None:
            return Root(path)
        has_user = self.bundle.spec.namespace("user") is not None
        return JoinedRoot(path, CONTAINER, GUEST_ROOT if self.join_target.enclosed else "/", has_user=has_user)


def run(order: LaunchRequest) -> NoReturn:
    """Be the process. Called right after the fork, in the child; never returns."""
    # The daemon's objects must not be finalised here: that would close descriptors
    # by numbers which mean something else by now.
    gc.disable()
    code = 1
    try:
        _take_name(order)
        forked.restore_signals()  # before the descriptor that the daemon's handlers write to is closed
        os.setsid()  # a signal to its process group is not one to ours
        os.umask(0)  # what is made for a container has the very mode that is asked for
        _keep_descriptors(order)
        workload = _prepare(order)
        if _go_ahead(order):
            code = _exit_code(workload)
            if order.terminal:
                terminal.leave()
    finally:
        os._exit(code)


def _take_name(order: LaunchRequest) -> None:
    """Be called as a program would be that was executed with these words.

    At once, while /proc is the host's: what is shown is in memory that a second birth copies. An
    engine that is a program has its own words as soon as it is executed.
    """
    words = order.bundle.spec.process.args
    path, _ = split_func(words[0])
    set_name(os.path.basename(path) or "pelagos-init", words)


def _keep_descriptors(order: LaunchRequest) -> None:
    """Move our own descriptors to 3-7 and close all others: a fork ignores O_CLOEXEC."""
    wanted = (order.control.fileno(), *order.stdio, *([order.join_target.pidfd] if order.join_target else []))
    # Duplicate above the targets first, so that none is overwritten before it is copied.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE) for fd in wanted]
    for copy, target in zip(copies, range(_CONTROL, _CONTROL + len(copies)), strict=True):
        os.dup2(copy, target, inheritable=False)
    syscalls.close_range(_CONTROL + len(copies))


def _prepare(order: LaunchRequest) -> Workload:
    try:
        root = order.root()
        _execute(order.plan.outside, root)
        if order.plan.birth is not None:
            _go_on_as_second_stage(order.plan.birth)
        _execute(order.plan.assemble, root)
        with because(reasons.ENTRYPOINT):
            file = lookup.find(root, order.bundle.spec.process, order.limits)
        steps = order.plan.of(file.kind)
        _execute(steps.complete, root)
        if file.kind.is_native:
            _give_streams(order, root)
            file = replace(file, env=home.completed(file.env, root, order.bundle.spec.process.user.uid))
        else:
            with because(reasons.SPEC):
                file = _narrowed(file, order, root)
        backend, program, reason = _choose(order, file)
        code = _compiled(backend, file)
        if program is not None:
            enter = EnterEngineRoot(program, file, _uid(order), code)
            _execute((enter,), root)
            file, code = enter.entered, None
        state = _run_creating_hooks(order, None if file.kind.is_native else root)
        if order.terminal:
            terminal.take(_STDIO[1])  # by the output: a policy may have taken the input away
        _execute(steps.seal, root)
        with because(reasons.ENTRYPOINT if file.kind.is_native else reasons.MODULE):
            workload = _spawn(backend, order.bundle, file, code)
        if program is not None:
            with because(reasons.ISOLATION):
                engine_files.keep_module_back(root.surroundings, program, file.file_path)
        if state:
            workload = functools.partial(_run_starting_hooks, order.bundle.spec.hooks.start_container, state, workload)
    except UnusableCode as error:
        _report(Unusable(backend.name, str(error)))
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 (whatever it is, the daemon must hear of it)
        _report(Failed(*to_fields(error)))
        if not isinstance(error, PelagosError):
            traceback.print_exc()
        os._exit(1)
    _report(Created(backend.name, reason, program is not None))
    return workload


def _give_streams(order: LaunchRequest, root: Root) -> None:
    """Let the user open its streams by their names, /dev/stderr and the like, as runc does."""
    if order.terminal:
        _use_own_terminal(order, root)
    for fd in _STDIO:
        with contextlib.suppress(OSError):  # in a user namespace they are not ours to give
            if not stat.S_ISCHR(os.fstat(fd).st_mode):
                os.fchown(fd, order.bundle.spec.process.user.uid, -1)


def _uid(order: LaunchRequest) -> int:
    """The user's id for what is made in the root: a process that joins has not entered the user namespace yet."""
    spec = order.bundle.spec
    uid = spec.host_uid if order.join_target else spec.process.user.uid
    return 0 if uid is None else uid


def _use_own_terminal(order: LaunchRequest, root: Root) -> None:
    """Take a terminal of the container's devpts instead of the daemon's, and hand its master over."""
    pair = terminal.allocate(root, _uid(order))
    if pair is None:
        return
    master, slave = pair
    with socket.socket(fileno=os.dup(_CONTROL)) as control:
        socket.send_fds(control, [messages.encode(Terminal())], [master])
    for target in _STDIO:
        os.dup2(slave, target, inheritable=False)
    if order.plan.has_own_dev:
        root.show(slave, "/dev/console")
    os.close(master)
    os.close(slave)


def _go_on_as_second_stage(birth: SecondStageClone) -> None:
    """Go on as another process; only that one returns."""
    reader, writer = os.pipe()
    pid = birth.fork()
    if pid:
        birth.write_maps(pid)
        _report(SecondStage(pid))
        os.write(writer, b"x")
        os._exit(0)
    os.close(writer)
    # If the first one ends too early nobody knows of us. Then the daemon, to be our parent in earnest.
    if not os.read(reader, 1) or os.read(_CONTROL, len(messages.GO)) != messages.GO:
        os._exit(1)
    os.close(reader)
    os.setsid()  # the session of the first one has nobody to lead it


def _run_creating_hooks(order: LaunchRequest, shielded: Root | None) -> bytes:
    """Have the daemon run its hooks, and run those of the container's namespaces.

    shielded: a Wasm guest's root, which is looked at again: a hook may have mounted anything.
    Returns the state for later ones: once the root is changed, /proc does not tell our pid any more.
    """
    hooks = order.bundle.spec.hooks
    if order.join_target is not None or not (hooks.while_creating or hooks.start_container):
        return b""
    if shielded is not None and hooks.start_container and order.bundle.policy.confines_engines:
        raise Unimplemented(_NO_PROGRAMS, reasons.HOOK)
    pid = int(os.readlink("/proc/self"))
    if hooks.while_creating:
        _report(Assembled())
        if os.read(_CONTROL, len(messages.GO)) != messages.GO:
            os._exit(1)
        oci_hooks.run(hooks.create_container, oci_hooks.state(order.bundle, "creating", pid), order.bundle.path)
        if shielded is not None:
            with because(reasons.MOUNT):
                kernel_views.check(shielded)
    return oci_hooks.state(order.bundle, "created", pid)


def _run_starting_hooks(hooks: tuple[Hook, ...], state: bytes, workload: Workload) -> int:
    """Run those that come between Start and the guest, in the container and as its user."""
    try:
        oci_hooks.run(hooks, state)
    except PelagosError as error:
        _say(f"pelagos: {error}")
        return 1
    return workload()


def _execute(operations: tuple[Operation, ...], root: Root) -> None:
    for operation in operations:
        with because(operation.reason):
            try:
                operation.execute(root)
            except OSError as error:
                raise Internal(f"{operation.describe()}: {error.strerror}") from error


def _choose(order: LaunchRequest, file: Entrypoint) -> tuple[Backend, Program | None, str]:
    selection = replace(order.selection, asking=lambda name: _report(Asking(name, "detect")))
    choice = selection.choose(order.bundle, file)
    if choice.backend is None:
        raise selection.refusal(file, choice)
    return choice.backend, choice.detections[choice.backend.name].program, choice.reason


def _compiled(backend: Backend, file: Entrypoint) -> int | None:
    """A directory with the compiled code, from the daemon; None if the backend wants none.

    While nothing of the guest has been looked at: what is asked for here can be relied on.
    """
    if not backend.compiles:
        return None
    _report(Asking(backend.name, "code_key"))
    settings = backend.code_key(file)
    if settings is None:
        return None
    wanted = messages.encode(Wanted(backend.name, file.path, file.digest, settings))
    control = socket.socket(fileno=_CONTROL)
    try:
        socket.send_fds(control, [wanted], [file.file])
        answer, fds, _, _ = socket.recv_fds(control, len(messages.CODE), 1, socket.MSG_CMSG_CLOEXEC)
    finally:
        control.detach()
    if answer != messages.CODE or not fds:
        os._exit(1)  # the daemon is gone
    return fds[0]


def _spawn(backend: Backend, bundle: Bundle, file: Entrypoint, code: int | None) -> Workload:
    _report(Asking(backend.name, "spawn"))
    if code is not None:
        # The code is in no directory of the container's, so it is reached from the working one.
        os.fchdir(code)
        file = replace(file, code=CODE)
    workload = backend.spawn(bundle, file)
    if code is not None:
        os.chdir("/")
        os.close(code)
    if not file.kind.is_native:
        workload = preopens.warned(workload, file, _say)
    os.close(file.file)
    return workload


def _narrowed(file: Entrypoint, order: LaunchRequest, root: Root) -> Entrypoint:
    """What its container's policy leaves to a guest."""
    policy = order.bundle.policy
    if not policy.stdin:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, _STDIO[0], inheritable=False)
        os.close(nothing)
    limit = memory.live(order.plan.cgroup, _CONTROL, _say) if order.limits.memory is not None else None
    env = preopens.variables(policy.variables(file.env), file.cwd, root)
    return replace(file, env=env, directories=preopens.of(order.bundle), network=policy.network, memory=limit)


def _report(message: Message) -> None:
    # os.write on a SEQPACKET socket is one datagram, and needs no socket object.
    os.write(_CONTROL, messages.encode(message))


def _go_ahead(order: LaunchRequest) -> bool:
    """Wait for Start. False if the daemon is gone, also if it died before we asked the
    kernel to be killed with it."""
    if order.terminal:
        # From now on, so that no key is lost. A native program's execve undoes it.
        terminal.report_signals(_CONTROL)
        select.select([_CONTROL], [], [])
    go = os.read(_CONTROL, len(messages.GO)) == messages.GO
    sys.stdout.flush()  # what a backend printed so far is not the guest's output
    for source, target in zip(_STDIO, (0, 1, 2), strict=True):
        os.dup2(source, target)
    if not order.listens:
        os.close(_CONTROL)
    syscalls.close_range(_STDIO[0], _STDIO[-1])
    return go


def _exit_code(workload: Callable[[], object]) -> int:
    code: object
    try:
        code = workload()
    except GuestExit as error:
        code = error.code
    except Trap as error:
        _say(with_reason(f"{error}\npelagos: the guest has trapped".lstrip("\n"), reasons.TRAP))
        return TRAP
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else TRAP
    except BaseException as error:  # noqa: BLE001 (whatever the engine raises is the guest's end)
        _say(with_reason(f"pelagos: {type(error).__name__}: {error}", reasons.ENGINE_FAILED))
        return TRAP
    if not isinstance(code, int):
        _say(with_reason(f"pelagos: the backend's workload returned {code!r}, not an exit code", reasons.ENGINE_FAILED))
        return TRAP
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    return code & 0xFF


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full or closed stderr does not change how it ended
        os.write(2, f"{text.rstrip()}\n".encode("utf-8", "replace"))
