"""A process' standard streams: from the paths in a request to the descriptors of its process.

The process gets the client's FIFOs directly, without copying, or a terminal.
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
    """The paths and the terminal flag of a Create or Exec request; State returns them unchanged."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Stdio:
    """The open streams of one process. In the daemon."""

    def __init__(self, paths: StdioPaths, uid: int | None = 0, container_id: str = "", namespace: str = "") -> None:
        """Open all streams. Does not wait until a FIFO's other end is open.

        uid: the host's id of the process' user, which becomes the terminal's owner; None if it is not known.
        container_id, namespace: for a logger.
        Raises NotFound, InvalidArgument or Unimplemented that names the stream.
        """
        self._paths = paths
        self._console: Console | None = None
        self._logger: Logger | None = None
        self._outputs: list[Output] = []
        self._finishing: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Task[None]] = []
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
        """Wait until a logger is ready. Raises DeadlineExceeded, or InvalidArgument if it has ended."""
        if self._logger:
            await self._logger.ready()

    @property
    def child(self) -> tuple[int, int, int]:
        """The descriptors for 0, 1 and 2 of the process, until `forked`."""
        if self._console:
            return (self._console.slave,) * 3
        return (self._input.fd, self._outputs[0].fd, self._outputs[1].fd)

    def adopt(self, master: int) -> None:
        """Replace the host's terminal by one that the process has opened in its container."""
        if self._console and os.isatty(master):
            self._console.adopt(master)
        else:
            os.close(master)

    def forked(self) -> None:
        """Close the daemon's copies of the process' descriptors: else readers would never get end of file."""
        if self._console:
            self._console.handed_over()
        else:
            self._input.handed_over()
        for output in self._outputs[1:] if self._console else self._outputs:
            output.handed_over()

    def started(self) -> None:
        """Record that the process was started."""
        if self._console:
            self._console.started()

    def write_text(self, text: str) -> None:
        """Write to stderr or to the terminal's client without waiting; the rest is dropped.

        After `forked` only a terminal's output is still open: see `write_line`.
        """
        if self._outputs:
            self._outputs[-1 if not self._console else 0].write(text.encode("utf-8", "replace"))

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; no effect without a terminal."""
        if self._console:
            self._console.resize(width, height)

    def write_line(self, text: str) -> None:
        """Write a line to stderr, or to the terminal's client, without waiting. An error is ignored.

        The stream is opened again, since its descriptor is closed after the fork; a logger gets the line directly.
        """
        line = f"{text}\r\n".encode() if self._paths.terminal else f"{text}\n".encode()
        if self._logger:
            self._logger.outputs[0 if self._paths.terminal else 1].insert(line)
            return
        name, uri = _output_uris(self._paths)[-1]
        with contextlib.suppress(OSError, PelagosError):
            output = open_output(name, uri)
            try:
                os.set_blocking(output.fd, False)
                os.write(output.fd, line)
            finally:
                output.close()

    def close_stdin(self) -> None:
        """CloseIO: close the daemon's writing end; the process reads end of file once the client has closed too."""
        self._input.release()

    def finish(self) -> None:
        """Close the streams of a process that has ended: readers get end of file after the last byte.

        Bytes without a reader are held in the background until there is a reader or `close` is called.
        """
        self.close_stdin()
        if self._console:
            self._console.pump()
            self._finishing = asyncio.ensure_future(self._finish_terminal(self._console))
        else:
            self._finish_outputs()

    async def wait_for_reader(self, seconds: float) -> None:
        """Wait until the bytes that `finish` has kept have readers; at most `seconds`.

        A client opens its ends of the FIFOs while its calls are pending, possibly after a short guest has
        ended. After the exit event it does not open them any more.
        """
        held = [task for output, task in zip(self._outputs, self._waiting, strict=False) if output.holds_bytes]
        if held:
            await asyncio.wait(held, timeout=seconds)

    async def drain(self, seconds: float, tries: int = 1) -> None:
        """Wait until the output of a terminal whose process has ended is read, and until the logger has exited.

        Waits at most `tries` times `seconds`; it stops when the reader has read nothing during `seconds`. A
        logger that does not exit is killed.
        """
        if self._console and self._finishing:
            written = -1
            while tries and not self._finishing.done() and written != self._console.written:
                tries, written = tries - 1, self._console.written
                await asyncio.wait({self._finishing}, timeout=seconds)
        if self._logger:
            await self._logger.end()

    def close(self) -> None:
        """Close everything now; unread bytes are lost."""
        for task in self._waiting + ([self._finishing] if self._finishing else []):
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
        self._waiting = [asyncio.ensure_future(output.close_once_read()) for output in self._outputs]


def _output_uris(paths: StdioPaths) -> list[tuple[str, str]]:
    if paths.terminal:
        return [("stdout", paths.stdout)]  # a terminal has one output; clients may set stderr anyway
    # containerd's convention: with a file URI both streams are written to stdout's path.
    shared = paths.stdout if paths.stdout.startswith("file:") and paths.stderr else paths.stderr
    return [("stdout", paths.stdout), ("stderr", shared)]
