"""The address and port at which an HTTP handler is served, in its container's network."""

from __future__ import annotations

from pelagos_core import reasons
from pelagos_core.config.policy import HTTP_ADDRESS, address
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint

VARIABLE = "PELAGOS_HTTP_ADDRESS"
"""The environment variable of the container that sets it. `PORT` is not read: images use it for other purposes."""


def of(bundle: Bundle, entrypoint: Entrypoint) -> str:
    """`ADDRESS:PORT`, from an annotation or the config, else from the variable, else the default.

    Raises InvalidArgument if the variable is not an address, or the container has no network or may not listen.
    """
    said = dict(entrypoint.environment()).get(VARIABLE, "")
    try:
        found = bundle.policy.http_address or (address(said) if said else HTTP_ADDRESS)
    except ValueError as error:
        raise InvalidArgument(f"variable {VARIABLE}: {error}", reasons.SERVE) from None
    lack = "has no network" if not entrypoint.network else "" if bundle.policy.listens else "may not listen"
    if lack:
        raise InvalidArgument(f"{entrypoint.path!r} cannot be served at {found}: it {lack}", reasons.SERVE)
    return found
