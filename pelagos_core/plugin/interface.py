"""What a module or component imports and exports, read by core or by an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ARROW = " -> "


@dataclass(frozen=True, slots=True)
class Import:
    """One import. module: empty for a component, whose imports have one name.

    signature: of a core module's function, such as `(i32, i64) -> (i32)`; empty where it is not known.
    """

    module: str
    name: str
    kind: str
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.module}::{self.name}" if self.module else self.name


@dataclass(frozen=True, slots=True)
class Export:
    """One export. signature: of a core module's function, as in `Import`."""

    name: str
    kind: str
    signature: str = ""

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """The types that a function takes; None where they are not known."""
        return _types_in(self.signature, 0)

    @property
    def results(self) -> tuple[str, ...] | None:
        """The types that a function returns; None where they are not known."""
        return _types_in(self.signature, 1)


@dataclass(frozen=True, slots=True)
class Interface:
    """What a module or component asks of the world and offers to it.

    custom: the names of a core module's custom sections.
    is_known: False for a file of which nothing is known.
    memories: the bytes that each memory of its own has at first. has_shared_memory: whether one is shared.
    """

    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    custom: tuple[str, ...] = ()
    is_component: bool = False
    is_known: bool = True
    memories: tuple[int, ...] = ()
    has_shared_memory: bool = False

    def function(self, name: str) -> Export | None:
        """The exported function of this name."""
        return next((export for export in self.exports if (export.name, export.kind) == (name, "function")), None)


UNKNOWN = Interface(is_known=False)


def signature(parameters: Sequence[str], results: Sequence[str]) -> str:
    """The type of a core module's function, as a text such as `(i32, i64) -> (i32)`."""
    return f"({', '.join(parameters)}){_ARROW}({', '.join(results)})"


def _types_in(signature: str, side: int) -> tuple[str, ...] | None:
    """The types in it; None for an empty text. side: 0 for the parameters, 1 for the results."""
    if not signature:
        return None
    words = signature.split(_ARROW)[side].strip("()")
    return tuple(words.split(", ")) if words else ()
