"""Echo: prints the name of the file that it should run. A template for your own backend."""

from __future__ import annotations

from collections.abc import Mapping

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, GuestExit, Workload, hookimpl

# Import your engine here: `spawn` runs inside the container, where it cannot read the host's files.

pelagos_contract = 1
"""The version of the hook contract for which this backend was written."""


@hookimpl
def pelagos_configure(settings: Mapping[str, object]) -> None:
    """Read the table `[backends.echo]` of the node's config. This backend has no settings."""
    if settings:
        raise InvalidArgument(f"unknown setting {sorted(settings)[0]!r}")


@hookimpl
def pelagos_describe() -> Description:
    """Describe the backend. Claim only features for which `pelagos conformance` passes."""
    return Description(engine="Echo", version="0.1", form="embedded", features=frozenset({"module"}))


@hookimpl
def pelagos_detect(entrypoint: Entrypoint) -> Detection:
    """Return whether the backend can run the file, how well, and why."""
    if entrypoint.kind is not Kind.MODULE:
        return Detection.cannot(f"Echo cannot run a {entrypoint.kind.value}")
    return Detection.can(1, "a last resort")


@hookimpl
def pelagos_spawn(entrypoint: Entrypoint) -> Workload:
    """Load and check the file. The returned function is called at Start and returns the exit code."""
    size = len(entrypoint.read())

    def run() -> int:
        print("would run", *entrypoint.args, f"({size} bytes)")
        if "fail" in entrypoint.args:
            raise GuestExit(3)
        return 0

    return run
