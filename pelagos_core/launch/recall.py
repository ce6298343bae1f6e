"""The record of a launch's module: looked up by its digest, and stored after backends have inspected the module."""

from __future__ import annotations

from pelagos_core.cache.known_module import KnownGuest, KnownKey
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.launch.guest_steps import NotBareError
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.messages import Learnt
from pelagos_core.plugin.entrypoint import split_func
from pelagos_core.plugin.limits import Limits


class Recall:
    """The record of one launch's module. In the daemon."""

    def __init__(self, launch: Launch, limits: Limits, known: KnownModules) -> None:
        self._launch, self._limits, self._known = launch, limits, known
        self._unknown: KnownKey | None = None

    @property
    def is_missed(self) -> bool:
        """Whether a module was looked up and has no record."""
        return self._unknown is not None

    def guest(self, digest: str) -> KnownGuest:
        """The record of a module. digest: sha256 in hex, computed before any backend's code has run.

        Raises NotBareError if there is no record, or it does not contain enough for this launch.
        """
        launch = self._launch
        _, func = split_func(launch.bundle.spec.process.args[0])
        key = KnownKey.of(digest, func, self._limits, launch.bundle, launch.selection.backends)
        known = self._known.find(launch.cache, key)
        guest = known.guest(launch.selection) if known else None
        if guest is None:
            self._unknown = None if known and known.has_values else key
            raise NotBareError
        return guest

    def keep(self, learnt: Learnt) -> None:
        """Store the record of the module that was looked up; ignore a record of any other module.

        Backends have run in the sender, which must not be able to write the record of another module.
        """
        unknown, self._unknown = self._unknown, None
        if unknown is not None and learnt.digest == unknown.module:
            self._known.keep(self._launch.cache, unknown, learnt.known)
