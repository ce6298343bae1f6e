"""The path of the socket of a group's daemon. Lean."""

import os

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim.unix_socket import MAX_PATH, name_of

# containerd's convention; a build constant there too, independent of its root directory.
DIRECTORY = "/run/containerd/s"


def socket_path(address: str, namespace: str, group: str, environment: "dict[str, str] | None" = None) -> str:
    """The path of a group's socket. Its name is a hash, so that ids of any length fit.

    It is in containerd's directory, or in that of PELAGOS_SOCKET_DIR. environment: to read that variable
    from; None: of this process. Raises InvalidArgument if the path is too long for a socket.
    """
    directory = (os.environ if environment is None else environment).get("PELAGOS_SOCKET_DIR") or DIRECTORY
    key = f"{address.removeprefix('unix://')}/{namespace}/{group}"
    path = f"{directory}/{name_of(key)}"
    if len(os.fsencode(path)) > MAX_PATH:
        raise InvalidArgument(f"socket path {path!r}: over {MAX_PATH} bytes")
    return path
