"""What a component gets of the network, and the functions that refuse it the rest, in the place of the library's.

Wasmtime 48 and newer gives neither TCP nor UDP unless it is told to, and its C API has no function for that
(github.com/bytecodealliance/wasmtime, pull request 13936): there are names and outgoing HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import wasmtime
from wasmtime import _bindings, component

from pelagos_core.plugin import sockets
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.linking import compatible

LACKING = "Wasmtime's library has no TCP and UDP, its program has"
"""Why a guest with a network does not get them."""

_ANY = 0  # the type of a resource of which there is never one
_STREAM = "resolve-address-stream"
_METHODS = ("resolve-next-address", "subscribe")


class _Refused(NamedTuple):
    """A function that is refused, and the error that it returns. lacking: whether the library has it for no guest."""

    function: str
    error: object
    lacking: bool = False


_REFUSED = {
    "tcp-create-socket": _Refused("create-tcp-socket", "access-denied", lacking=True),
    "udp-create-socket": _Refused("create-udp-socket", "access-denied", lacking=True),
    "ip-name-lookup": _Refused("resolve-addresses", "access-denied"),
    "outgoing-handler": _Refused("handle", component.Variant("HTTP-request-denied")),
}


def lacking(imports: Iterable[str]) -> bool:
    """Whether the library lacks one of these imports, from `sockets.asked_for`, for every guest."""
    return any(_REFUSED[compatible(name)[1]].lacking for name in imports)


def give(wasi: wasmtime.WasiConfig) -> None:
    """Let a guest that has a network look names up, and send HTTP requests."""
    # The package has no methods for these two functions of its declarations.
    _bindings.wasi_config_inherit_network(wasi.ptr())
    _bindings.wasi_config_allow_ip_name_lookup(wasi.ptr(), True)


def refuse(linker: component.Linker, entrypoint: Entrypoint) -> None:
    """Have the imports of sockets that the guest does not get refused and reported: all of them without a network.

    In `load`.
    """
    linker.allow_shadowing = True
    for name in sockets.asked_for(entrypoint.interface):
        of = _REFUSED[compatible(name)[1]]
        if of.lacking or not entrypoint.network:
            with linker.root() as root, root.add_instance(name) as instance:
                instance.add_func(of.function, _refusing(name, of, entrypoint))
                if of is _REFUSED["ip-name-lookup"]:
                    _add_stream(instance)
    linker.allow_shadowing = False


def _refusing(name: str, of: _Refused, entrypoint: Entrypoint) -> Callable[..., object]:
    why = LACKING if entrypoint.network else sockets.NO_NETWORK

    def refused(store: wasmtime.Store, *arguments: object) -> object:
        for argument in arguments:
            if isinstance(argument, component.ResourceAny):
                argument.drop(store)  # one that is borrowed has to be given back before the call returns
        entrypoint.refuse_network(name, why)
        return of.error

    return refused


def _add_stream(instance: component.LinkerInstance) -> None:
    """The resource of names that are looked up, and its methods, none of which can be called."""
    instance.add_resource(_STREAM, component.ResourceType.host(_ANY), lambda *_: None)
    for method in _METHODS:
        instance.add_func(f"[method]{_STREAM}.{method}", lambda *_: None)
