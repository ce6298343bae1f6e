"""The imports and exports of a module or component, as core or an engine has read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ARROW = " -> "


@dataclass(frozen=True, slots=True)
class Import:
    """One import.

    module: the module's name; empty for a component, whose imports have one name only.
    name, kind: the import's own, such as `fd_write` and `function`.
    signature: the type of a core module's function, such as `(i32, i64) -> (i32)`; empty if it is not known.
    """

    module: str
    name: str
    kind: str
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.module}::{self.name}" if self.module else self.name


@dataclass(frozen=True, slots=True)
class Export:
    """One export. The fields are as in `Import`."""

    name: str
    kind: str
    signature: str = ""

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """The types of a function's parameters; None if they are not known."""
        return _types_in(self.signature, 0)

    @property
    def results(self) -> tuple[str, ...] | None:
        """The types of a function's results; None if they are not known."""
        return _types_in(self.signature, 1)


@dataclass(frozen=True, slots=True)
class Interface:
    """The imports and exports of a module or component.

    custom: the names of a core module's custom sections.
    is_known: False if the file could not be read or understood.
    memories: the initial size in bytes of each memory that the module defines.
    has_shared_memory: whether one of its memories is shared.
    """

    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    custom: tuple[str, ...] = ()
    is_component: bool = False
    is_known: bool = True
    memories: tuple[int, ...] = ()
    has_shared_memory: bool = False

    def function(self, name: str) -> Export | None:
        """The exported function with this name; None if there is none."""
        return next((export for export in self.exports if (export.name, export.kind) == (name, "function")), None)


UNKNOWN = Interface(is_known=False)


def signature(parameters: Sequence[str], results: Sequence[str]) -> str:
    """The type of a core module's function, as a text such as `(i32, i64) -> (i32)`."""
    return f"({', '.join(parameters)}){_ARROW}({', '.join(results)})"


def _types_in(signature: str, side: int) -> tuple[str, ...] | None:
    """The types in a signature; None if it is empty. side: 0 for the parameters, 1 for the results."""
    if not signature:
        return None
    words = signature.split(_ARROW)[side].strip("()")
    return tuple(words.split(", ")) if words else ()
