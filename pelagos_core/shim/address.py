"""The path of the socket of a group's daemon. Lean."""

import os

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim.unix_socket import MAX_PATH, name_of

# containerd's convention; a build constant there too, whatever its own root is.
DIRECTORY = "/run/containerd/s"


def directory() -> str:
    """Where sockets are: containerd's place, or the one that PELAGOS_SOCKET_DIR names."""
    return os.environ.get("PELAGOS_SOCKET_DIR") or DIRECTORY


def socket_path(address: str, namespace: str, group: str) -> str:
    """The path of a group's socket: a hash, so that ids of any length fit.

    Raises InvalidArgument if PELAGOS_SOCKET_DIR is too long for a socket in it.
    """
    key = f"{address.removeprefix('unix://')}/{namespace}/{group}"
    path = f"{directory()}/{name_of(key)}"
    if len(os.fsencode(path)) > MAX_PATH:
        raise InvalidArgument(f"socket path {path!r}: over {MAX_PATH} bytes")
    return path
