"""What is said of a command line that is wrong: one line, like every other error."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

import click

from pelagos_core.cli import voice
from pelagos_core.errors import InvalidArgument

_NEAR = 0.8  # of 1; click's own 0.6 takes --cpus for --tmpfs
_FIRST_WORD = re.compile(r"[A-Z][a-z]+ ")


class Elsewhere(click.UsageError):
    """A command line that is wrong, with words that say what is right."""


def describe(error: click.ClickException) -> str:
    """What to print: a line, or the help where there was no word at all."""
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
    """Make an option's mistake of the InvalidArgument that its value raises."""
    try:
        yield
    except InvalidArgument as error:
        raise click.BadParameter(error.message, param_hint=option) from None


def near(word: str, known: Iterable[str]) -> str:
    """A question that names the one that may have been meant; empty if none is written much like it."""
    import difflib  # here: most command lines are right

    found = difflib.get_close_matches(word.lstrip("-"), [each.lstrip("-") for each in known], 1, _NEAR)
    dashes = word[: len(word) - len(word.lstrip("-"))]
    return f"; did you mean '{dashes}{found[0]}'?" if found else ""


def told(error: click.ClickException) -> str:
    """What is wrong, without what to do about it: in lower case, without a full stop."""
    text = error.format_message()
    if isinstance(error, click.NoSuchOption):
        parameters = error.ctx.command.get_params(error.ctx) if error.ctx else []
        known = [name for it in parameters if isinstance(it, click.Option) for name in it.opts if name[:2] == "--"]
        return f"no such option '{error.option_name}'{near(error.option_name, known)}"
    if text.startswith("Usage: "):
        return text
    text = text.strip().removesuffix(".")
    return text[0].lower() + text[1:] if _FIRST_WORD.match(text) else text
