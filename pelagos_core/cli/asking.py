"""Asking many daemons the same thing at the same time: `ps`, `ps --node`, `stats`, `inspect`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from pelagos_core.cli.connection import Answer, Connection
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.waiting import Waiting
from pelagos_core.errors import PelagosError
from pelagos_core.ttrpc.service import Service

_SECONDS = 2.0  # for all of them to answer; one that is stopped does not


def ask(service: Service, method: str, requests: Sequence[tuple[str, Message]]) -> list[Any]:
    """Call a method of several daemons, and wait for all answers, two seconds at most. In the command.

    requests: the path of each daemon's socket, and what it is asked. Returns in this order, for each daemon, its
    message; the PelagosError that came instead, Unavailable if it has ended; or None if it has not answered.
    """
    with Waiting() as waiting, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(Progress("waiting for shims that do not answer").keep_up(waiting)))
        asked = [_ask(path, service, method, request, waiting, stack) for path, request in requests]
        waiting.until(lambda: all(isinstance(it, PelagosError) or it.has_come for it in asked), _SECONDS)
        return [_outcome(each) for each in asked]


def _ask(
    path: str, service: Service, method: str, request: Message, waiting: Waiting, stack: contextlib.ExitStack
) -> Answer | PelagosError:
    try:
        connection = stack.enter_context(Connection(path, waiting))
    except PelagosError as error:
        return error
    return connection.send(service, method, request, _SECONDS)


def _outcome(asked: Answer | PelagosError) -> object:
    if isinstance(asked, PelagosError):
        return asked
    if not asked.has_come:
        return None
    try:
        return asked.message()
    except PelagosError as error:
        return error
