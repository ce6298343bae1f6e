"""The network as a guest asks for it: which imports are about sockets, and what is told of one that is refused.

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
"""The interfaces by which a component begins to use the network, as `linking.compatible` splits their names.

All other functions of these packages take what one of these has returned.
"""

REFUSAL = ("pelagos: the guest asked for ", ", and ", with_reason("", reasons.NETWORK))
"""The line that reports a first refusal. Between these are the import's name, and why it is refused."""

NO_NETWORK = "it has no network"
"""Why, if the guest has none."""

_ACCEPT = "sock_accept"


def refusal(name: str, why: str) -> str:
    """The line that reports a first refusal. name: of the import."""
    first, second, last = REFUSAL
    return f"{first}{name}{second}{why}{last}"


def asked_for(interface: Interface) -> tuple[str, ...]:
    """The full names of a component's imports by which it begins to use the network."""
    if not interface.is_component:
        return ()
    return tuple(item.name for item in interface.imports if compatible(item.name) in FIRST_CALLS)


def waits_in_vain(interface: Interface) -> bool:
    """Whether a core module accepts connections on a socket, without a function that opens one.

    WASI 0.1 opens none: its host may hand some over, which no engine here does. Go's package `net` then listens
    inside of the program alone, and without an error. Extensions of engines have functions of their own.
    """
    names = {item.name for item in interface.imports if item.kind == "function"}
    return not interface.is_component and _ACCEPT in names and not names & {"sock_open", "sock_listen"}


def vain(path: str) -> str:
    """The line for a module that `waits_in_vain`. path: of the entry point."""
    text = (
        f"pelagos: {shown(path)} accepts connections, and WASI 0.1 has no socket for it: what it listens on, nothing "
        "can connect to; a component (WASI 0.2) has sockets"
    )
    return with_reason(text, reasons.NETWORK)
