"""A container's scope unit: its control group under the host's systemd. In the daemon.

systemd creates and removes the group; in between the shim manages it (`Delegate=yes`).
Source: systemd's "Control Group APIs and Delegation".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pelagos_core.cgroups import systemd_units
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cgroups.systemd_units import NO_SUCH_UNIT, UNIT_EXISTS, Property, Refused, Scope
from pelagos_core.errors import DeadlineExceeded, FailedPrecondition, PelagosError
from pelagos_core.linux import child, credentials, forked, syscalls
from pelagos_core.linux.child import Child
from pelagos_core.linux.descriptor import Fd
from pelagos_core.linux.pidfd import is_readable
from pelagos_core.oci import Resources

if TYPE_CHECKING:
    from pelagos_core.task.systemd_manager import Manager

log = logging.getLogger(__name__)

_START = ("StartTransientUnit", "ssa(sv)a(sa(sv))")


class ContainerScope:
    """The scope of one container, from `start` to `stop`. Without a scope all methods do nothing.

    systemd creates no scope without a process, and removes a scope whose last process has ended. The limits
    are set before the container has a process, so `start` puts a placeholder process into the scope.
    """

    def __init__(self, container_id: str, scope: Scope | None, cgroup: Cgroup) -> None:
        self._id = container_id
        self._scope = scope
        self._cgroup = cgroup
        self._placeholder: Child | None = None
        self._may_exist = False  # whether a scope of this name may be ours; `stop` must not stop another's

    async def start(self, resources: Resources) -> None:
        """Create the scope by systemd, with the limits for which systemd has properties.

        Raises FailedPrecondition or DeadlineExceeded that names the scope.
        """
        if self._scope is None:
            return
        unit, self._placeholder = self._scope.unit, _fork_placeholder()
        own = self._scope.properties(self._id, self._placeholder.pid, unified=self._cgroup.unified)
        rules = [] if resources.devices is None else systemd_units.devices(DevicePolicy.of(resources.devices))

        async def start(manager: Manager) -> None:
            wanted = [*own, *rules, *self._limits(resources, await manager.version())]
            words: tuple[object, ...] = (unit, "fail", wanted, [])
            try:
                await self._make(manager, words)
            except Refused as error:
                if error.name != UNIT_EXISTS:
                    raise
                # systemd still keeps a failed scope of this name. For a running one the second call fails again.
                await manager.call("ResetFailedUnit", "s", (unit,))
                await self._make(manager, words)

        await self._ask(unit, start)

    async def _make(self, manager: Manager, words: tuple[object, ...]) -> None:
        self._may_exist = True
        try:
            await manager.run(*_START, words)
        except Refused as error:
            self._may_exist = error.name != UNIT_EXISTS
            raise

    def end_placeholder(self) -> None:
        """Kill the placeholder process: the container's process is in the scope, or its launch has failed."""
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None

    async def update(self, resources: Resources) -> None:
        """Change the limits for which systemd has properties. Raises as `start`."""
        if self._scope is None:
            return
        unit = self._scope.unit

        async def update(manager: Manager) -> None:
            if changed := self._limits(resources, await manager.version()):
                await manager.call("SetUnitProperties", "sba(sv)", (unit, True, changed))

        await self._ask(unit, update)

    async def stop(self) -> None:
        """Kill the processes in the scope and stop it. If the scope has ended with its last process, does nothing.

        An error is logged: the caller removes the group, which ends the scope.
        """
        self.end_placeholder()
        if self._scope is None or not self._may_exist:
            return
        unit = self._scope.unit
        self._cgroup.kill(signal.SIGKILL)  # systemd would send SIGTERM and wait 90 seconds

        async def stop(manager: Manager) -> None:
            try:
                await manager.run("StopUnit", "ss", (unit, "replace"))
            except Refused as error:
                if error.name != NO_SUCH_UNIT:
                    raise

        try:
            await self._ask(unit, stop)
        except PelagosError as error:
            log.warning("container %r: %s", self._id, error)

    def _limits(self, resources: Resources, version: int) -> list[Property]:
        return systemd_units.limits(self._cgroup.writes(resources), version)

    async def _ask(self, unit: str, conversation: Callable[[Manager], Awaitable[None]]) -> None:
        """Run `conversation` with systemd's manager. Errors name the scope."""
        from pelagos_core.task import systemd_manager

        what = f"systemd: scope {unit!r}"
        try:
            await systemd_manager.ask(conversation)
        except Refused as error:
            raise FailedPrecondition(f"{what}: {error}") from None
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"{what}: systemd does not answer") from None
        except OSError as error:
            raise FailedPrecondition(f"{what}: systemd cannot be reached over the system's D-Bus: {error}") from None


def _fork_placeholder() -> Child:
    """Fork a process that only waits; it exits when the daemon exits."""
    with Fd(os.pidfd_open(os.getpid())) as daemon:
        return child.fork(lambda: _wait_for(daemon))


def _wait_for(parent: int) -> None:
    """Close the daemon's descriptors and wait for the daemon's exit. In the child.

    parent: a pidfd of the daemon. It is needed beside PR_SET_PDEATHSIG (prctl(2)), which sends no signal if
    the parent has exited before the call.
    """
    forked.restore_signals()
    credentials.die_with_parent(signal.SIGKILL)
    forked.close_all_but(parent)
    syscalls.set_comm("pelagos-scope")
    is_readable(parent)
