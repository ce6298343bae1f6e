"""The zygotes of the tests: they listen in a private directory, and are ended with the session."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from pelagos_core.metrics import slots
from pelagos_core.shim import zygote_request


def zygote_of(path: str) -> int:
    """The pid of the zygote that listens on a socket; 0 if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except OSError:
            return 0
        # For a listening socket, these are the credentials of the process that called listen(2).
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def zygotes(directory: str) -> list[int]:
    """The pids of all zygotes that listen in a directory."""
    found = (zygote_of(str(path)) for path in Path(directory).iterdir()) if os.path.isdir(directory) else ()
    return [pid for pid in found if pid not in (0, os.getpid())]  # a test may listen itself, in place of a zygote


def end_zygotes(directory: str) -> None:
    """End all zygotes that listen in a directory, and replaced ones, which would otherwise run until they are idle."""
    for pid in {*zygotes(directory), *_named_after(directory)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _named_after(directory: str) -> Iterator[int]:
    """The zygotes whose command line has a path in a directory."""
    start = os.fsencode(f"pelagos-zygote {directory}/")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").startswith(start):
                yield int(pid)


def of_the_tests() -> dict[str, str]:
    """The environment variables with which `start` uses the zygotes and metrics of this test session."""
    return {name: os.environ[name] for name in (zygote_request.VARIABLE, slots.VARIABLE)}
