"""Echo: prints what it was asked to run. A template for a backend of your own."""

from __future__ import annotations

from collections.abc import Mapping

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, GuestExit, Workload, hookimpl

# Import your engine here: `spawn` runs in the container, where the host's files are not.

pelagos_contract = 1
"""The version of the hook contract that this was written for."""


@hookimpl
def pelagos_configure(settings: Mapping[str, object]) -> None:
    """Take `[backends.echo]` of the node's config: there is nothing to set."""
    if settings:
        raise InvalidArgument(f"unknown setting {sorted(settings)[0]!r}")


@hookimpl
def pelagos_describe() -> Description:
    """What it is and can. Claim what `pelagos conformance` shows to work, and no more."""
    return Description(engine="Echo", version="0.1", form="embedded", features=frozenset({"module"}))


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection:
    """Can it run this file, how well, and why?"""
    if entrypoint.kind is not Kind.MODULE:
        return Detection.cannot(f"Echo cannot run a {entrypoint.kind.value}")
    return Detection.can(1, "a last resort")


@hookimpl
def pelagos_spawn(entrypoint: Entrypoint) -> Workload:
    """Load and check; what is returned is called at Start, and returns the exit code."""
    size = len(entrypoint.read())

    def run() -> int:
        print("would run", *entrypoint.args, f"({size} bytes)")
        if "fail" in entrypoint.args:
            raise GuestExit(3)
        return 0

    return run
