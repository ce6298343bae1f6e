"""systemd's manager, over the system's D-Bus. Imported only when a scope is needed: the import takes 20 ms.

Source: org.freedesktop.systemd1(5), "The Manager Object"; D-Bus by jeepney.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from jeepney import AuthenticationError, DBusAddress, DBusErrorResponse, MatchRule, Message, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.asyncio import DBusRouter, open_dbus_router
from jeepney.io.common import RouterClosed
from jeepney.wrappers import Properties, unwrap_msg

from pelagos_core.cgroups.systemd_units import Refused

SECONDS = 10.0  # for one call of `ask`
_NAME = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _NAME, f"{_NAME}.Manager")
_DONE = "done"
_MAX_SIGNALS = 64  # queued; more than one if the unit has other jobs


class Manager:
    """The manager object, over one connection. Each method raises Refused with systemd's answer."""

    def __init__(self, router: DBusRouter) -> None:
        self._router = router

    async def version(self) -> int:
        """The version of systemd, such as 252; 0 if its text does not begin with a number."""
        ((_, text),) = await self._answer(Properties(_MANAGER).get("Version"))
        number = re.match(r"[0-9]+", text)
        return int(number[0]) if number else 0

    async def call(self, method: str, signature: str, words: tuple[object, ...]) -> tuple[Any, ...]:
        """Call a method; return its answer."""
        return await self._answer(new_method_call(_MANAGER, method, signature, words))

    async def run(self, method: str, signature: str, words: tuple[object, ...]) -> None:
        """Call a method that starts a job, and wait for the job's end.

        words: the arguments; the first is the unit's name.
        """
        # Any program may send such a signal, so only the owner of systemd's name on the bus is accepted as sender.
        (owner,) = await self._answer(message_bus.GetNameOwner(_NAME))
        rule = MatchRule(type="signal", sender=owner, interface=_MANAGER.interface, member="JobRemoved")
        rule.add_arg_condition(2, str(words[0]))  # this unit's jobs only: a busy host ends hundreds of jobs
        # The bus forwards a signal only to connections with a match rule for it. Rule and filter are set before
        # the call, since the signal may arrive together with the answer.
        await self._answer(message_bus.AddMatch(rule))
        with self._router.filter(rule, bufsize=_MAX_SIGNALS) as removed:
            (job,) = await self.call(method, signature, words)
            while True:
                _, path, unit, result = (await removed.get()).body
                if path == job:
                    break
        if result != _DONE:
            raise Refused("", f"the job of {method} for {unit!r} ended with {result!r}")

    async def _answer(self, message: Message) -> tuple[Any, ...]:
        try:
            answer: tuple[Any, ...] = unwrap_msg(await self._router.send_and_get_reply(message))
        except DBusErrorResponse as error:
            raise Refused(error.name, str(error.data[0]) if error.data else error.name) from None
        return answer


async def ask(conversation: Callable[[Manager], Awaitable[None]], seconds: float = SECONDS) -> None:
    """Connect to the bus, run `conversation`, disconnect. In the daemon.

    seconds: limit for the whole conversation.
    Raises Refused; asyncio.TimeoutError after `seconds`; OSError if the bus cannot be reached.
    """

    async def hold() -> None:
        async with open_dbus_router("SYSTEM") as router:
            await conversation(Manager(router))

    try:
        await asyncio.wait_for(hold(), seconds)
    except (EOFError, RouterClosed, AuthenticationError) as error:
        raise ConnectionAbortedError(f"the connection has ended: {error}") from None
