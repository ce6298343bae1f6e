"""What is said of a command line that is wrong: one line, like every other error."""

from __future__ import annotations

from collections.abc import Iterable

import click

_NEAR = 0.8  # of 1; click's own 0.6 takes --cpus for --tmpfs


def describe(error: click.ClickException) -> str:
    """What to print: a line, or the help where there was no word at all."""
    text = told(error).strip()
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or text.startswith("Usage: "):
        return text if text.startswith("Usage: ") else f"pelagos: {text}"
    return f"pelagos: {text if text.endswith(('.', '?')) else f'{text}.'} Try '{context.command_path} --help'."


def near(word: str, known: Iterable[str]) -> str:
    """A sentence that names the one that may have been meant; empty if none is written much like it."""
    import difflib  # here: most command lines are right

    found = difflib.get_close_matches(word.lstrip("-"), [each.lstrip("-") for each in known], 1, _NEAR)
    dashes = word[: len(word) - len(word.lstrip("-"))]
    return f" Did you mean '{dashes}{found[0]}'?" if found else ""


def told(error: click.ClickException) -> str:
    """What is wrong, without what to do about it."""
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    parameters = error.ctx.command.get_params(error.ctx) if error.ctx else []
    known = [name for each in parameters if isinstance(each, click.Option) for name in each.opts if name[:2] == "--"]
    return f"No such option '{error.option_name}'.{near(error.option_name, known)}"
