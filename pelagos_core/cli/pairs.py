"""Parses `NAME=VALUE` in options, like docker."""

from __future__ import annotations

import os

import click

from pelagos_core.errors import InvalidArgument, NotFound

_MAX_BYTES = 1 << 20
_OPTION = "--env-file"


def variable(word: str) -> str:
    """Return `NAME=VALUE`; for a NAME alone, the value of this environment, or an empty text if it is not set.

    Raises BadParameter.
    """
    name, equals, _ = word.partition("=")
    if not name:
        raise click.BadParameter(f"{word!r} is not NAME=VALUE", param_hint="--env")
    if equals:
        return word
    return f"{name}={os.environ[name]}" if name in os.environ else ""


def variables(words: tuple[str, ...]) -> tuple[str, ...]:
    """The variables of all `--env` options, without those that are not set. Raises BadParameter."""
    return tuple(found for word in words if (found := variable(word)))


def of_files(paths: tuple[str, ...]) -> tuple[str, ...]:
    """The variables in files of docker's `--env-file`: one per line, no quotes, `#` starts a comment line.

    Raises NotFound or InvalidArgument; the message names the file and the line.
    """
    return tuple(found for path in paths for line in _lines(path) if (found := line))


def _lines(path: str) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InvalidArgument(f"{_OPTION}: {path!r} has more than {_MAX_BYTES} bytes")
        text = data.decode()
    except FileNotFoundError:
        raise NotFound(f"{_OPTION}: {path!r} does not exist") from None
    except OSError as error:
        raise InvalidArgument(f"{_OPTION}: {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{_OPTION}: {path!r} is not UTF-8") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        word = line.rstrip("\r").lstrip()
        if not word or word.startswith("#"):
            continue
        name = word.partition("=")[0]
        if not name or any(character.isspace() for character in name) or "\0" in word:
            raise InvalidArgument(f"{_OPTION}: {path!r}, line {number}: {word!r} is not NAME=VALUE")
        found.append(variable(word))
    return tuple(found)


def pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    """Names with their values; the last value of a name is used. Raises BadParameter."""
    found = [word.partition("=") for word in words]
    for name, equals, _ in found:
        if not name or not equals:
            raise click.BadParameter(f"{name!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in found}
