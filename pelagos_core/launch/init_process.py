"""The daemon's side of an init process during its launch: pid, pidfd and control socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine, Mapping
from types import MappingProxyType

from pelagos_core.errors import Internal
from pelagos_core.launch import messages, nursery
from pelagos_core.launch.messages import Created, Message, Ready
from pelagos_core.linux import pidfd


class EndedError(Exception):
    """The process has ended during the work of `unless_ended`."""


class InitProcess:
    """A child of the daemon that is being launched. In the daemon, on its event loop.

    It is not reaped before `abandon`, even when it has ended: its pid is the id of a process group that may
    contain a second stage. So it is not a `linux.child.Child`, which is reaped as soon as it has ended.
    pidfd: -1 after `abandon`. control: the daemon's end of the socket.
    """

    def __init__(self, pid: int, control: socket.socket, *, has_second_stage: bool = False) -> None:
        """Take over `control` and the child. has_second_stage: whether a second process will replace it.

        Raises OSError if descriptors are exhausted; the child is killed and reaped then.
        """
        self.pid = pid
        self.control = control
        self._has_second_stage = has_second_stage
        self._receiving: asyncio.Future[tuple[bytes, int]] | None = None
        self._is_listening = False
        try:
            self.pidfd = os.pidfd_open(pid)  # not reaped yet, so the pid cannot have been reused
        except OSError:
            control.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    async def receive(self, seconds: float | None) -> tuple[Message | None, int]:
        """The next message, with its descriptor, or -1. None once the process has ended.

        The caller closes the descriptor.
        seconds: maximum time to wait; None: no limit. Raises asyncio.TimeoutError, and Internal for
        an invalid message.
        """
        datagram, fd = await self._datagram(seconds)
        if not datagram:
            self._stop_listening()
            await self.ended()
            return None, -1
        try:
            message = messages.decode(datagram)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        if isinstance(message, Created | Ready):
            self._stop_listening()  # the last message of a launch: `Control` reads the socket from now on
        return message, fd

    async def _datagram(self, seconds: float | None) -> tuple[bytes, int]:
        """The next datagram and its descriptor, or -1; empty at the end. Raises asyncio.TimeoutError.

        The event loop's reader stays registered between calls: a launch has about ten datagrams, and a
        registration for each would take two system calls and two iterations of the loop.
        """
        loop = asyncio.get_running_loop()
        receiving: asyncio.Future[tuple[bytes, int]] = loop.create_future()
        self._receiving = receiving
        timer = loop.call_later(seconds, _expire, receiving) if seconds is not None else None
        if not self._is_listening:
            self._is_listening = True
            loop.add_reader(self.control.fileno(), self._read)
        try:
            return await receiving
        except BaseException:
            if receiving.done() and not receiving.cancelled() and not receiving.exception():
                _, fd = receiving.result()  # arrived together with the cancellation
                if fd >= 0:
                    os.close(fd)
            raise
        finally:
            self._receiving = None
            if timer:
                timer.cancel()

    def _read(self) -> None:
        """Read a datagram for `_datagram`. Without a pending receive it stays in the socket."""
        receiving = self._receiving
        if receiving is None or receiving.done():
            self._stop_listening()
            return
        try:
            datagram, fds, _, _ = socket.recv_fds(self.control, messages.MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionError:
            datagram, fds = b"", []
        except OSError as error:
            receiving.set_exception(error)
            return
        receiving.set_result((datagram, fds[0] if fds else -1))

    def _stop_listening(self) -> None:
        if self._is_listening:
            self._is_listening = False
            asyncio.get_running_loop().remove_reader(self.control.fileno())

    def send_go(self) -> None:
        """Send GO. Raises OSError if the process has ended."""
        self.control.send(messages.GO)

    def send_code(self, code: int) -> None:
        """Send a descriptor of the compiled code's directory. A process that has ended is no error."""
        with contextlib.suppress(OSError):  # `receive` then returns its end
            socket.send_fds(self.control, [messages.CODE], [code])

    def send_plan(self, plan: bytes, descriptors: Mapping[int, int] = MappingProxyType({})) -> None:
        """Send the next part of its plan. descriptors: by the numbers of their slots.

        A process that has ended is no error. Raises OSError for a plan that is too long.
        """
        with contextlib.suppress(ConnectionError):  # `receive` then returns its end
            socket.send_fds(self.control, [nursery.head(list(descriptors)), plan], list(descriptors.values()))

    def oom_score_adj(self) -> int | None:
        """Its OOM score adjustment; None if the process has ended."""
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/oom_score_adj", "rb") as file:
            return int(file.read())
        return None

    def signal(self, signum: int) -> None:
        """Send a signal. Raises ProcessLookupError if it is reaped."""
        signal.pidfd_send_signal(self.pidfd, signum)

    async def ended(self) -> None:
        """Return once it has ended, without reaping it."""
        await pidfd.ended(self.pidfd)

    async def unless_ended(self, work: Coroutine[None, None, int]) -> int:
        """The result of `work`. If the process ends before, cancels it and raises EndedError."""
        working, ended = asyncio.ensure_future(work), asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, ended):
                task.cancel()  # no effect on a finished task
            await asyncio.wait({working, ended})
        if working.cancelled():
            raise EndedError
        return working.result()

    def how_it_ended(self) -> os.waitid_result:
        """Its exit status, after `ended`, without reaping it (waitid(2), WNOWAIT)."""
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert result is not None  # waitid(2) without WNOHANG always has a result
        return result

    async def adopt_second_stage(self, pid: int) -> None:
        """Replace the process by its second stage (user namespaces), and reap the first, which exits.

        Raises Internal if no second stage is expected, or the pid is no child of the daemon.
        """
        if not self._has_second_stage:
            raise Internal("the init process reported a second stage that is not part of its plan")
        second = os.pidfd_open(pid)
        try:
            os.waitid(os.P_PIDFD, second, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            os.close(second)
            raise Internal(f"process {pid} is no child of the shim") from None
        try:
            await self.ended()
        except BaseException:
            os.close(second)
            raise
        pidfd.reap(self.pidfd)
        os.close(self.pidfd)
        self.pid, self.pidfd, self._has_second_stage = pid, second, False

    async def abandon(self) -> None:
        """Kill and reap the process and a second stage that it has not reported; close the descriptors."""
        self.signal(signal.SIGKILL)
        if self._has_second_stage:
            # A second stage that was not reported is in the same process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self.ended()
        pidfd.reap(self.pidfd)
        with contextlib.suppress(ChildProcessError):
            while self._has_second_stage:
                os.waitid(os.P_PGID, self.pid, os.WEXITED)
        self._stop_listening()
        self.control.close()
        os.close(self.pidfd)
        self.pidfd = -1


def _expire(receiving: asyncio.Future[tuple[bytes, int]]) -> None:
    if not receiving.done():
        receiving.set_exception(asyncio.TimeoutError())
