"""An engine's program that serves: it listens on a socket, and runs the guest for each request.

In the container's init process, whose child the program is, as in `program_backend`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux import child
from pelagos_core.plugin.hookspecs import Server
from pelagos_core.plugin.program import fault
from pelagos_core.plugin.program_backend import end_with_init, exit_code

_READ_BYTES = 64 << 10
_KEPT_BYTES = 64 << 10  # of what a program prints before it listens; its error is at the end
_STDERR = 2


@dataclass(frozen=True, slots=True)
class ProgramServer:
    """How to run a program that serves.

    words: the program's path and its arguments. environment: its own. what: that is served, and where, for errors.
    listening: the line on its stderr, with its end, by which it says that it accepts connections; it is taken out
        of the output. No guest has run by then, so none has printed it.
    failure: finds in its output what has kept it from that. hidden: what it says afterwards for a person at a terminal.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    what: str
    listening: re.Pattern[bytes]
    failure: re.Pattern[str]
    hidden: re.Pattern[bytes] = re.compile(rb"(?!)")

    def server(self) -> Server:
        """For `spawn`."""
        return Server(self._run)

    def _run(self, tell: Callable[[], None]) -> int:
        """Run it to its end; its exit code. Raises FailedPrecondition if it ends before it listens."""
        reader, writer = os.pipe()
        try:
            program = child.execute(list(self.words), self.environment, {_STDERR: writer}, end_with_init)
        except OSError as error:
            raise FailedPrecondition(f"{self.what}: {error}", reasons.SERVE) from None
        finally:
            os.close(writer)
        said = self._until_it_listens(reader)
        if said is None:
            tell()
        self._pass_on(reader)
        code = exit_code(program.reap())
        if said is not None:
            reason = fault(self.failure, said) or f"the server has ended with {code}"
            raise FailedPrecondition(f"{self.what}: {reason}", reasons.SERVE)
        return code

    def _until_it_listens(self, reader: int) -> bytes | None:
        """Read its stderr up to the line that says so; what it has said if that does not come."""
        said = b""
        while chunk := os.read(reader, _READ_BYTES):
            said = (said + chunk)[-_KEPT_BYTES:]
            if match := self.listening.search(said):
                _write(said[: match.start()] + said[match.end() :])
                return None
        return said

    def _pass_on(self, reader: int) -> None:
        """Copy its stderr to the container's, up to its end."""
        while chunk := os.read(reader, _READ_BYTES):
            _write(self.hidden.sub(b"", chunk))
        os.close(reader)


def _write(data: bytes) -> None:
    """Write to the container's stderr. If nothing reads that any more the program is not told: it would end."""
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(_STDERR, view) :]
