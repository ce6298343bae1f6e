"""The option `--backend`. The shim gets it as an annotation, but errors must name the option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pelagos_core.cli import completion

if TYPE_CHECKING:
    from pelagos_core.backends.selection import Preference
    from pelagos_core.config.node_file import Config

_NAME = "--backend"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def backend_option(help: str, *, multiple: bool = False) -> Callable[[_Function], _Function]:
    """The option of a command; its function gets `backend`, a name or "", or with `multiple` a tuple of names."""
    return click.option(
        _NAME,
        "backend",
        default=None if multiple else "",
        multiple=multiple,
        metavar="NAME",
        shell_complete=completion.backends,
        help=help,
    )


def asked_for(annotations: Mapping[str, str], node: Config) -> Preference:
    """The preference of a command: from its option, which is in `annotations`, else from the node's config."""
    from dataclasses import replace  # here: `pelagos run` only declares the option

    from pelagos_core.backends.selection import ANNOTATION, preference
    from pelagos_core.config.node_file import Config

    found = preference(annotations, {}, Config(), node)
    return replace(found, source=_NAME) if annotations.get(ANNOTATION) else found


def in_its_words(text: str) -> str:
    """The text of a shim's error, with the option's name instead of the annotation's."""
    from pelagos_core.backends.selection import ANNOTATION  # here, as above

    return text.replace(f"the container's annotation {ANNOTATION}", _NAME)
