"""Where a guest that handles HTTP requests is served: an address and a port of its container's own network."""

from __future__ import annotations

from pelagos_core import reasons
from pelagos_core.config.policy import HTTP_ADDRESS, address
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint

VARIABLE = "PELAGOS_HTTP_ADDRESS"
"""The variable of the container that says so. `PORT` is not read: images have it for their own use."""


def of(bundle: Bundle, entrypoint: Entrypoint) -> str:
    """`ADDRESS:PORT`: as an annotation or the config says, else as the variable says, else the default.

    Raises InvalidArgument for a variable that is none, and for a container without a network.
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
