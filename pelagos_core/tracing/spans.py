"""Creates spans. Without a tracer, which is the default, a span is an object that does nothing.

Only `tracer` imports OpenTelemetry, and only if the node's config or environment enables traces.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

Attributes = Mapping[str, str | int | float | bool]
_Result = TypeVar("_Result")
_NOTHING: AbstractContextManager[None] = nullcontext()


class Tracer(Protocol):
    """Creates spans."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[None]:
        """A child span of the current span. It ends with the `with` block; an exception becomes its status."""

    def annotate(self, attributes: Attributes) -> None:
        """Add attributes to the current span."""


class _Installed:
    tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Use this tracer in this process from now on; None disables tracing."""
    _Installed.tracer = tracer


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[None]:
    """A span for a `with` block. attributes: `__` in a name becomes a dot, as in `container__id`."""
    tracer = _Installed.tracer
    return tracer.span(name, _dotted(attributes)) if tracer else _NOTHING


def annotate(**attributes: str | int | float | bool) -> None:
    """Add attributes to the current span, named as for `span`."""
    if _Installed.tracer:
        _Installed.tracer.annotate(_dotted(attributes))


def spanned(
    name: str, work: Coroutine[Any, Any, _Result], **attributes: str | int | float | bool
) -> Coroutine[Any, Any, _Result]:
    """A coroutine that runs `work` within a new span."""
    return _within(span(name, **attributes), work) if _Installed.tracer else work


async def _within(block: AbstractContextManager[None], work: Coroutine[Any, Any, _Result]) -> _Result:
    with block:
        return await work


def _dotted(attributes: Attributes) -> Attributes:
    return {name.replace("__", "."): value for name, value in attributes.items()}
