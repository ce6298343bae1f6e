"""The part of a launch that is the same for both kinds of init processes: deadlines, hooks, second stage, errors.

`conversation` is the launch itself. In the daemon, on its event loop.
"""

from __future__ import annotations

import asyncio

from pelagos_core import reasons
from pelagos_core.backends.registry import DETECT_SECONDS, Failure
from pelagos_core.errors import Cancelled, Code, FailedPrecondition, Internal, PelagosError, from_fields
from pelagos_core.exit_status import ending
from pelagos_core.launch import runtime_hooks
from pelagos_core.launch.bare_init import BareInit
from pelagos_core.launch.guest_steps import MissingError
from pelagos_core.launch.init_process import InitProcess
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.messages import Asking, Failed, Message, Stopped, Unusable
from pelagos_core.plugin.hookspecs import UnusableCode

# Longer than the timer in the child, which interrupts Python code only. After this time the daemon kills the child.
_HOOK_SECONDS = DETECT_SECONDS + 2.0


class BackendCrashError(Exception):
    """The process has ended inside a backend's hook."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Exchange:
    """The part of a launch that is the same for both kinds of init processes."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._name = launch.name
        self._bare: BareInit | None = None  # of the current process, if it is without an interpreter
        self._killed = False
        # `spawn` may compile, which takes minutes and has the time limit of the compile service.
        self._time_limits = {"detect": _HOOK_SECONDS, "code_key": _HOOK_SECONDS, "spawn": float(launch.cache.seconds)}

    async def _receive(self, process: InitProcess, asking: Asking | None) -> tuple[Message, int]:
        """The next message, with its descriptor, or -1. Raises BackendCrashError or `_lost`."""
        limit = self._time_limits.get(asking.hook) if asking else None
        try:
            message, file = await process.receive(limit)
        except asyncio.TimeoutError:
            assert asking is not None
            raise BackendCrashError(Failure(asking.backend, asking.hook, f"no answer in {limit:g} s")) from None
        if message is None:
            raise self._lost(process, asking)
        return message, file

    async def _run_hooks(self, process: InitProcess) -> None:
        bundle = self._launch.bundle
        await runtime_hooks.run(bundle.spec.hooks.create_runtime, bundle, "creating", process.pid)
        self._send_go(process)

    async def _adopt_second_stage(self, process: InitProcess, pid: int) -> None:
        try:
            await process.adopt_second_stage(pid)
        except PelagosError as error:
            raise Internal(f"{self._name}: {error.message}") from None
        self._launch.forked(process.pid)
        self._send_go(process)

    def _send_go(self, process: InitProcess) -> None:
        self._check_not_killed()
        try:
            process.send_go()
        except OSError:
            raise FailedPrecondition(f"{self._name}: cannot start, its process is gone") from None

    def _error(self, message: Message, asking: Asking | None = None) -> Exception:
        """The error of Create for a message of the init process. Raises NotBareError.

        asking: the hook of a backend that was announced last.
        """
        if isinstance(message, Stopped) and self._bare is not None:
            error = self._bare.error(message)
            if isinstance(error, PelagosError):
                error.message = f"{self._name}: {error.message}"
            return error
        if isinstance(message, Failed):
            failed = from_fields(message.code, f"{self._name}: {message.message}", message.reason)
            # The entry point is looked up before any backend's hook is called.
            is_missing = asking is None and (failed.code, failed.reason) == (Code.NOT_FOUND, reasons.ENTRYPOINT)
            return MissingError(failed) if is_missing else failed
        if isinstance(message, Unusable):
            return UnusableCode(f"backend {message.backend!r} does not accept compiled code: {message.message}")
        text = f"{self._name}: the init process sent {type(message).__name__} at the wrong time"
        return Internal(text, reasons.ENGINE_FAILED)

    def _lost(self, process: InitProcess, asking: Asking | None) -> Exception:
        """The error of Create for the end of the init process."""
        if self._killed:
            return self._cancelled()
        how = ending(process.how_it_ended())
        if asking:
            return BackendCrashError(Failure(asking.backend, asking.hook, how))
        return Internal(f"{self._name}: its process has ended unexpectedly: {how}", reasons.LOST)

    def _check_not_killed(self) -> None:
        if self._killed:
            raise self._cancelled()

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._name}: killed while it was being created", reasons.KILLED)
