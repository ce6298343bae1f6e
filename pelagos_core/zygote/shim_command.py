"""The part of `start` and `delete` that the zygote serves in its loop: lookups and answers that need no fork.

Its time is bounded, since every pod waits meanwhile: it reads small files of a bundle, which belongs to root, and
connects without blocking. For every unusual case the launcher in Python serves the request.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import record
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.delete import KILLED, encode_response
from pelagos_core.shim.flags import Flags, parse
from pelagos_core.shim.group import group_in
from pelagos_core.shim.identifier import check_id
from pelagos_core.shim.start import daemon_words, write_address
from pelagos_core.shim.unix_socket import is_served
from pelagos_core.shim.zygote_request import Request

MAX_CONFIG_BYTES = 1 << 20  # the largest config.json that is read here, which takes milliseconds


class DeclinedError(Exception):
    """The launcher in Python must serve this request."""


@dataclass(frozen=True, slots=True)
class MissingDaemon:
    """The group has no daemon yet: the path of its socket, and its command line."""

    path: str
    words: list[str]


def answer(request: Request, directory_fd: int) -> bytes | MissingDaemon:
    """Return the bytes to print for a command line, or the daemon that must be created for it.

    directory_fd: the working directory of the client.
    Raises DeclinedError, PelagosError or OSError: each means that the launcher in Python must serve the request.
    """
    flags = parse(request.words)
    # A removed working directory is an error, which the launcher in Python reports.
    if flags.version or flags.info or not os.fstat(directory_fd).st_nlink:
        raise DeclinedError
    check_id(flags.id)
    if flags.action == "start":
        return _started(flags, request.environment, directory_fd)
    if flags.action == "delete":
        return _deleted(flags, request.environment, directory_fd)
    raise DeclinedError


def _started(flags: Flags, environment: dict[str, str], directory_fd: int) -> bytes | MissingDaemon:
    check_id(flags.namespace, "namespace")
    path = _socket_path(flags, ".", environment, directory_fd)
    if not is_served(path):
        return MissingDaemon(path, daemon_words(flags, path))
    address = f"unix://{path}".encode()
    write_address(address, directory_fd)
    return address


def _deleted(flags: Flags, environment: dict[str, str], directory_fd: int) -> bytes:
    """The answer if nothing is left to clean up: no record, and no socket of a dead daemon."""
    bundle = flags.bundle or "."
    try:
        os.stat(f"{bundle}/{record.NAME}", dir_fd=directory_fd, follow_symlinks=False)
        raise DeclinedError
    except FileNotFoundError:
        pass
    path = _socket_path(flags, bundle, environment, directory_fd)
    if os.path.exists(path) and not is_served(path):
        raise DeclinedError
    return encode_response(0, KILLED, time.time_ns())


def _socket_path(flags: Flags, bundle: str, environment: dict[str, str], directory_fd: int) -> str:
    try:
        if os.stat(f"{bundle}/config.json", dir_fd=directory_fd).st_size > MAX_CONFIG_BYTES:
            raise DeclinedError
    except OSError:
        pass  # `group_in` handles this case
    group = group_in(bundle, flags.id, directory_fd)
    path = socket_path(flags.address, flags.namespace, group, environment)
    if not os.path.isabs(path):
        raise InvalidArgument(f"socket path {path!r} is not absolute")
    return path
