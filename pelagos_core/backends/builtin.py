"""The `signal` and `wait` that a backend gets if it has none of its own: by pidfd."""

from __future__ import annotations

import signal
from collections.abc import Awaitable

from pelagos_core.exit_status import ExitStatus
from pelagos_core.linux import pidfd
from pelagos_core.plugin.hookspecs import RunningProcess, hookimpl

# signal(7): signals whose default disposition is not to terminate. SIGSTOP and SIGCONT
# pass as they are: the kernel obeys them even for the first process of a pid namespace.
_PASSED_ON = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT})
_IGNORED = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


@hookimpl(trylast=True)
def pelagos_signal(process: RunningProcess, signum: int) -> bool:
    """End the guest for a terminating signal, and remember which one it was.

    A guest has no signal handlers, and pid_namespaces(7) drops an unhandled signal sent
    to the first process of its namespace: only SIGKILL ends it for sure.
    """
    if signum in _IGNORED:
        return True
    if signum not in _PASSED_ON:
        # The first one counts: it is what has ended the guest.
        process.termination_signal = process.termination_signal or signum
        signum = signal.SIGKILL
    signal.pidfd_send_signal(process.pidfd, signum)
    return True


@hookimpl(trylast=True)
def pelagos_wait(process: RunningProcess) -> Awaitable[ExitStatus]:
    """Reap the process once its pidfd is readable."""
    return _reap(process)


def is_deadly(signum: int) -> bool:
    """Whether the built-in `signal` ends a guest for this signal."""
    return signum not in _IGNORED and (signum == signal.SIGKILL or signum not in _PASSED_ON)


async def _reap(process: RunningProcess) -> ExitStatus:
    await pidfd.readable(process.pidfd)
    return reap(process)


def reap(process: RunningProcess) -> ExitStatus:
    """Reap a process that has ended. Raises ChildProcessError if that has been done."""
    status = ExitStatus.from_waitid(pidfd.reap(process.pidfd))
    if process.termination_signal and status.code == 128 + signal.SIGKILL:
        return ExitStatus(128 + process.termination_signal, status.exited_at)
    return status
