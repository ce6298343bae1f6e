"""`NAME=VALUE` in options, as docker's have it."""

from __future__ import annotations

import os

import click


def variable(word: str) -> str:
    """`NAME=VALUE`; of a bare NAME our own value, empty if it is not set here: then it is not passed on.

    Raises BadParameter.
    """
    name, equals, _ = word.partition("=")
    if not name:
        raise click.BadParameter(f"{word!r} is not NAME=VALUE", param_hint="--env")
    if equals:
        return word
    return f"{name}={os.environ[name]}" if name in os.environ else ""


def variables(words: tuple[str, ...]) -> tuple[str, ...]:
    """Those of all words of `--env` that have a value. Raises BadParameter."""
    return tuple(found for word in words if (found := variable(word)))


def pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    """Names with their values; of a name that is there twice the last one. Raises BadParameter."""
    found = [word.partition("=") for word in words]
    for name, equals, _ in found:
        if not name or not equals:
            raise click.BadParameter(f"{name!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in found}
