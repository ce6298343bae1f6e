"""Recognises imports with which a guest uses the network, and words the message if it gets no network.

Source: github.com/WebAssembly/WASI, wit-0.2.0: `wasi:sockets`, `wasi:http/outgoing-handler`.
"""

from __future__ import annotations

from pelagos_core import reasons
from pelagos_core.errors import with_reason
from pelagos_core.plugin.interface import Interface
from pelagos_core.plugin.linking import compatible, shown

FIRST_CALLS = frozenset(
    {
        ("wasi:sockets@0.2", "tcp-create-socket"),
        ("wasi:sockets@0.2", "udp-create-socket"),
        ("wasi:sockets@0.2", "ip-name-lookup"),
        ("wasi:http@0.2", "outgoing-handler"),
    }
)
"""The interfaces with which a component starts to use the network, as `linking.compatible` splits their names.

The other functions of these packages take handles that functions of these interfaces return.
"""

REFUSAL = ("pelagos: the guest asked for ", ", and ", with_reason("", reasons.NETWORK))
"""The message of the first refusal. Between its parts are the import's name and the reason."""

NO_NETWORK = "it has no network"
"""The reason if the guest has no network."""

_ACCEPT = "sock_accept"


def refusal(name: str, why: str) -> str:
    """The message of the first refusal. name: the import's name. why: the reason, without its subject's name."""
    first, second, last = REFUSAL
    return f"{first}{name}{second}{why}{last}"


def asked_for(interface: Interface) -> tuple[str, ...]:
    """The full names of the imports with which a component starts to use the network."""
    if not interface.is_component:
        return ()
    return tuple(item.name for item in interface.imports if compatible(item.name) in FIRST_CALLS)


def waits_in_vain(interface: Interface) -> bool:
    """Whether a core module accepts connections on a socket, but imports no function that opens one.

    WASI 0.1 has no such function: the host may pass open sockets, but no engine here does. Go's package `net` then
    listens inside the program only, without an error. Extensions of some engines add functions that open sockets.
    """
    names = {item.name for item in interface.imports if item.kind == "function"}
    return not interface.is_component and _ACCEPT in names and not names & {"sock_open", "sock_listen"}


def vain(path: str) -> str:
    """The warning for a module that `waits_in_vain`. path: the entry point's path."""
    text = (
        f"pelagos: {shown(path)} accepts connections, and WASI 0.1 has no socket for it: no client can "
        "connect to it; a component (WASI 0.2) has sockets"
    )
    return with_reason(text, reasons.NETWORK)
