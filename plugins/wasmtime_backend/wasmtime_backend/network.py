"""Gives a component the network functions that the library supports, and replaces the others by functions that refuse.

Wasmtime 48 and newer disables TCP and UDP by default, and its C API has no function that enables them
(github.com/bytecodealliance/wasmtime, pull request 13936). Name lookup and outgoing HTTP are available.
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
"""The reason for which a guest with a network gets no TCP and UDP."""

_ANY = 0  # the type of a resource that is never created
_STREAM = "resolve-address-stream"
_METHODS = ("resolve-next-address", "subscribe")


class _Refused(NamedTuple):
    """A function that refuses, and the error that it returns. lacking: whether the library never provides it."""

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
    """Whether the library never provides one of these imports. imports: from `sockets.asked_for`."""
    return any(_REFUSED[compatible(name)[1]].lacking for name in imports)


def give(wasi: wasmtime.WasiConfig) -> None:
    """Enable name lookup and outgoing HTTP, for a guest with a network."""
    # The package declares these two functions, but has no methods for them.
    _bindings.wasi_config_inherit_network(wasi.ptr())
    _bindings.wasi_config_allow_ip_name_lookup(wasi.ptr(), True)


def refuse(linker: component.Linker, entrypoint: Entrypoint) -> None:
    """Define the socket imports that the guest does not get as functions that refuse and report; all without network.

    Call it in `load`.
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
                argument.drop(store)  # a borrowed resource must be dropped before the call returns
        entrypoint.refuse_network(name, why)
        return of.error

    return refused


def _add_stream(instance: component.LinkerInstance) -> None:
    """Define the resource for lookup results. Its methods are never called, because no lookup succeeds."""
    instance.add_resource(_STREAM, component.ResourceType.host(_ANY), lambda *_: None)
    for method in _METHODS:
        instance.add_func(f"[method]{_STREAM}.{method}", lambda *_: None)
