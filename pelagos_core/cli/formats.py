"""The options `--json`, `--format` and `--no-trunc`, declared once for all commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

_KEY = "pelagos_core.cli.formats"
_Function = TypeVar("_Function", bound=Callable[..., Any])

whole = click.option("--no-trunc", "whole", is_flag=True, help="Wrap and shorten nothing: each row is one line.")


def json_option(function: _Function) -> _Function:
    """Give a command `--json` and docker's `--format`; its function gets `as_json`."""

    def note(ctx: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value:  # click calls it for the options in the order in which they were typed: the last one is used
            ctx.meta[_KEY] = value in (True, "json")

    @functools.wraps(function)
    def call(*words: Any, **more: Any) -> Any:  # noqa: ANN401 (the command's own)
        return function(*words, as_json=click.get_current_context().meta.get(_KEY, False), **more)

    click.option(
        "--format", type=click.Choice(["table", "json"]), expose_value=False, callback=note, help="How it is printed."
    )(call)
    click.option("--json", is_flag=True, expose_value=False, callback=note, help="The same as --format json.")(call)
    return call  # type: ignore[return-value] # of the same parameters but for `as_json`
