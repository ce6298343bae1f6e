"""Formats the errors of a wrong command line as one line, like all other errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

import click

from pelagos_core.cli import voice
from pelagos_core.errors import InvalidArgument

_NEAR = 0.8  # of 1; with click's default of 0.6, --cpus is similar to --tmpfs
_FIRST_WORD = re.compile(r"[A-Z][a-z]+ ")


class Elsewhere(click.UsageError):
    """A wrong command line whose message already says what is right."""


def describe(error: click.ClickException) -> str:
    """The text to print: one line, or the help if the command line is empty."""
    text = told(error).strip()
    if text.startswith("Usage: "):
        return text
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return voice.line(text)
    voice.speak_for(context.command_path)
    is_told = text.endswith("?") or isinstance(error, Elsewhere)
    return voice.line(text if is_told else f"{text}; see `{context.command_path} --help`")


@contextlib.contextmanager
def in_option(option: str) -> Iterator[None]:
    """Convert an InvalidArgument in the block to an error about this option."""
    try:
        yield
    except InvalidArgument as error:
        raise click.BadParameter(error.message, param_hint=option) from None


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the most similar word; empty if none is similar."""
    import difflib  # here: most command lines are correct

    found = difflib.get_close_matches(word.lstrip("-"), [each.lstrip("-") for each in known], 1, _NEAR)
    dashes = word[: len(word) - len(word.lstrip("-"))]
    return f"; did you mean '{dashes}{found[0]}'?" if found else ""


def told(error: click.ClickException) -> str:
    """The fault without the remedy, in lower case and without a full stop."""
    text = error.format_message()
    if isinstance(error, click.NoSuchOption):
        parameters = error.ctx.command.get_params(error.ctx) if error.ctx else []
        known = [name for it in parameters if isinstance(it, click.Option) for name in it.opts if name[:2] == "--"]
        return f"no such option '{error.option_name}'{near(error.option_name, known)}"
    if text.startswith("Usage: "):
        return text
    text = text.strip().removesuffix(".")
    return text[0].lower() + text[1:] if _FIRST_WORD.match(text) else text
