"""The default hooks `signal` and `wait`, by pidfd, for backends without their own."""

from __future__ import annotations

import signal
from collections.abc import Awaitable

from pelagos_core.exit_status import ExitStatus
from pelagos_core.linux import pidfd
from pelagos_core.plugin.hookspecs import RunningProcess, hookimpl

# signal(7): signals whose default disposition is not to terminate. SIGSTOP and SIGCONT are
# delivered unchanged: they take effect even on the first process of a pid namespace.
_PASSED_ON = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT})
_IGNORED = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


@hookimpl(trylast=True)
def pelagos_signal(process: RunningProcess, signum: int) -> bool:
    """Kill the guest for a terminating signal, and record its number.

    A guest has no signal handlers, and the kernel drops an unhandled signal to the first process
    of a pid namespace (pid_namespaces(7)): only SIGKILL always ends it.
    """
    if signum in _IGNORED:
        return True
    if signum not in _PASSED_ON:
        # The first signal is recorded: it has killed the guest.
        process.termination_signal = process.termination_signal or signum
        signum = signal.SIGKILL
    signal.pidfd_send_signal(process.pidfd, signum)
    return True


@hookimpl(trylast=True)
def pelagos_wait(process: RunningProcess) -> Awaitable[ExitStatus]:
    """Reap the process once its pidfd is readable; return its exit status."""
    return _reap(process)


def is_deadly(signum: int) -> bool:
    """Whether the built-in `signal` ends a guest for this signal."""
    return signum not in _IGNORED and (signum == signal.SIGKILL or signum not in _PASSED_ON)


async def _reap(process: RunningProcess) -> ExitStatus:
    await pidfd.readable(process.pidfd)
    return reap(process)


def reap(process: RunningProcess) -> ExitStatus:
    """Reap a process that has ended. Raises ChildProcessError if it is reaped already."""
    status = ExitStatus.from_waitid(pidfd.reap(process.pidfd))
    if process.termination_signal and status.code == 128 + signal.SIGKILL:
        return ExitStatus(128 + process.termination_signal, status.exited_at)
    return status
