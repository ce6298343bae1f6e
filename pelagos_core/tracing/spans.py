"""Where spans begin and end. Without a tracer, which is the rule, a span is an object that does nothing.

OpenTelemetry is imported by `tracer`, and only where the node's config or environment asks for traces.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

Attributes = Mapping[str, str | int | float | bool]
_Result = TypeVar("_Result")
_NOTHING: AbstractContextManager[None] = nullcontext()


class Tracer(Protocol):
    """What makes spans."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[None]:
        """A span within the one of the caller; it ends with the block, by an error with that error."""

    def annotate(self, attributes: Attributes) -> None:
        """Add attributes to the span of the caller."""


class _Installed:
    tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Make spans by this tracer from now on, in this process; None: make none."""
    _Installed.tracer = tracer


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[None]:
    """A span of the block. attributes: `__` stands for a dot, as in `container__id`."""
    tracer = _Installed.tracer
    return tracer.span(name, _dotted(attributes)) if tracer else _NOTHING


def annotate(**attributes: str | int | float | bool) -> None:
    """Add attributes to the span of the caller, named as for `span`."""
    if _Installed.tracer:
        _Installed.tracer.annotate(_dotted(attributes))


def spanned(
    name: str, work: Coroutine[Any, Any, _Result], **attributes: str | int | float | bool
) -> Coroutine[Any, Any, _Result]:
    """The same work, within a span of its own."""
    return _within(span(name, **attributes), work) if _Installed.tracer else work


async def _within(block: AbstractContextManager[None], work: Coroutine[Any, Any, _Result]) -> _Result:
    with block:
        return await work


def _dotted(attributes: Attributes) -> Attributes:
    return {name.replace("__", "."): value for name, value in attributes.items()}
