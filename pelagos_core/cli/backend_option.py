"""`--backend`: for the shim it is an annotation, but errors are to name what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pelagos_core.backends.selection import ANNOTATION, Preference, preference
from pelagos_core.config.node_file import Config

_NAME = "--backend"


def asked_for(annotations: Mapping[str, str], node: Config) -> Preference:
    """The preference of a command: its option's, which is in `annotations`, else the node's."""
    found = preference(annotations, {}, Config(), node)
    return replace(found, source=_NAME) if annotations.get(ANNOTATION) else found


def in_its_words(text: str) -> str:
    """An error of a shim, for a command with this option."""
    return text.replace(f"the container's annotation {ANNOTATION}", _NAME)
