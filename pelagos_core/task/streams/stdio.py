"""A process' standard streams: from the paths in a request to the descriptors of its process.

The process gets the client's FIFOs themselves, with no copy in between, or a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass

from pelagos_core.errors import PelagosError
from pelagos_core.task.streams.console import Console
from pelagos_core.task.streams.logger import Logger
from pelagos_core.task.streams.stream import Input, Output, open_output


@dataclass(frozen=True, slots=True)
class StdioPaths:
    """What the Create or Exec request says, returned by State exactly as given."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Stdio:
    """The open streams of one process. In the daemon."""

    def __init__(self, paths: StdioPaths, uid: int | None = 0, container_id: str = "", namespace: str = "") -> None:
        """Open everything; never waits for a peer.

        uid: the host's id of the process' user, who gets the terminal; None if it is not known.
        container_id, namespace: for a logger.
        Raises NotFound, InvalidArgument or Unimplemented that names the stream.
        """
        self._paths = paths
        self._console: Console | None = None
        self._logger: Logger | None = None
        self._outputs: list[Output] = []
        self._finishing: asyncio.Task[None] | None = None
        self._lingering: list[asyncio.Task[None]] = []
        self._input = Input(paths.stdin)
        try:
            if paths.stdout.startswith("binary:"):
                self._logger = Logger(paths.stdout, container_id, namespace)
                self._outputs += self._logger.outputs
            else:
                for name, uri in _output_uris(paths):
                    self._outputs.append(open_output(name, uri))
            if paths.terminal:
                source = self._input.fd if paths.stdin else -1
                self._console = Console(source, self._outputs[0].fd, uid)
        except BaseException:
            self.close()
            raise

    async def ready(self) -> None:
        """Return once a logger is ready. Raises DeadlineExceeded, or InvalidArgument if it has ended."""
        if self._logger:
            await self._logger.ready()

    @property
    def child(self) -> tuple[int, int, int]:
        """The descriptors for the process' 0, 1 and 2, until `forked`."""
        if self._console:
            return (self._console.slave,) * 3
        return (self._input.fd, self._outputs[0].fd, self._outputs[1].fd)

    def adopt(self, master: int) -> None:
        """Use a terminal that the process has found in its container instead of ours."""
        if self._console and os.isatty(master):
            self._console.adopt(master)
        else:
            os.close(master)

    def forked(self) -> None:
        """The process has its copies: close them here, or its readers would never see the end."""
        if self._console:
            self._console.handed_over()
        else:
            self._input.handed_over()
        for output in self._outputs[1:] if self._console else self._outputs:
            output.handed_over()

    def started(self) -> None:
        """The process runs from now on."""
        if self._console:
            self._console.started()

    def say(self, text: str) -> None:
        """Write to stderr, or the terminal's client, as far as that takes it at once."""
        if self._outputs:
            self._outputs[-1 if not self._console else 0].say(text.encode("utf-8", "replace"))

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; without one nothing happens."""
        if self._console:
            self._console.resize(width, height)

    def complain(self, text: str) -> None:
        """Write a line of ours to the process' standard error or terminal, if it takes one now."""
        name, uri = _output_uris(self._paths)[-1]
        with contextlib.suppress(OSError, PelagosError):
            output = open_output(name, uri)
            try:
                os.set_blocking(output.fd, False)
                os.write(output.fd, f"{text}\r\n".encode() if self._paths.terminal else f"{text}\n".encode())
            finally:
                output.close()

    def close_stdin(self) -> None:
        """CloseIO: let the process see the end of its input once the client has closed too."""
        self._input.release()

    def finish(self) -> None:
        """The process is gone: let readers see the end, after the last byte.

        What nobody reads yet is held, in the background, until somebody does or `close`.
        """
        self.close_stdin()
        if self._console:
            self._console.pump()
            self._finishing = asyncio.ensure_future(self._finish_terminal(self._console))
        else:
            self._finish_outputs()

    async def taken(self, seconds: float) -> None:
        """Return once somebody reads what `finish` holds, or when this time is over.

        A client opens its ends beside its calls, and may get to it after a short guest has ended.
        Once told of that it does not open them any more.
        """
        held = [task for output, task in zip(self._outputs, self._lingering, strict=False) if output.holds_bytes]
        if held:
            await asyncio.wait(held, timeout=seconds)

    async def settle(self, seconds: float, tries: int = 1) -> None:
        """Give readers of a terminal that has ended some more time for what is left of it.

        So many tries of so many seconds, each for a reader that has taken something in the last one.
        A logger is seen to its end, by force at last.
        """
        if self._console and self._finishing:
            taken = -1
            while tries and not self._finishing.done() and taken != self._console.taken:
                tries, taken = tries - 1, self._console.taken
                await asyncio.wait({self._finishing}, timeout=seconds)
        if self._logger:
            await self._logger.end()

    def close(self) -> None:
        """Close everything now; bytes that nobody has read are lost."""
        for task in self._lingering + ([self._finishing] if self._finishing else []):
            task.cancel()
        if self._console:
            self._console.close()
        if self._logger:
            self._logger.close()
        self._input.close()
        for output in self._outputs:
            output.close()

    async def _finish_terminal(self, console: Console) -> None:
        await console.drained()
        self._finish_outputs()

    def _finish_outputs(self) -> None:
        self._outputs = [output for output in self._outputs if not output.finish()]
        self._lingering = [asyncio.ensure_future(output.linger()) for output in self._outputs]


def _output_uris(paths: StdioPaths) -> list[tuple[str, str]]:
    if paths.terminal:
        return [("stdout", paths.stdout)]  # a terminal has one output; clients set a stderr all the same
    # containerd's convention: with a file URI both streams go to stdout's path.
    shared = paths.stdout if paths.stdout.startswith("file:") and paths.stderr else paths.stderr
    return [("stdout", paths.stdout), ("stderr", shared)]
