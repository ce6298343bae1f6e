"""Generate the reference pages of the documentation from the code: commands, hooks, features.

The site's build calls `pages`; the pages are not committed. Each function returns Markdown.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

import click

from pelagos_core.cli.command import Command, Text, contexts
from pelagos_core.cli.command_line import cli
from pelagos_core.plugin import claims, hookspecs

_HOOKS = ("configure", "describe", "detect", "spawn", "signal", "wait", "native", "code_key", "compile", "compiler")
_REQUIRED = ("detect", "spawn")
_FIELD = re.compile(r"^:(?P<kind>param|return|raises) ?(?P<name>[\w.]*):", re.MULTILINE)


def pages() -> Mapping[str, str]:
    """All generated pages: their paths below docs/, and their texts."""
    return {
        "reference/commands.md": commands(),
        "reference/hooks.md": hooks(),
        "reference/features.md": features(),
    }


def commands() -> str:
    """Every command and flag of `pelagos`, with the texts of its help."""
    parts = [
        "# Commands",
        "",
        "This page is generated from the command line's help. See also the [exit codes](../errors.md#exit-codes).",
    ]
    for context in contexts(click.Context(cli, info_name="pelagos", terminal_width=100, **cli.context_settings)):
        command = context.command
        assert isinstance(command, Command)
        text = Text.of(command)
        parts += ["", f"## {context.command_path}", "", text.purpose, "", "```text", command.get_usage(context), "```"]
        parts += [line for paragraph in text.description for line in ("", _inline(paragraph))]
        for title, records in command.sections(context):
            rows = [f"| `{_cell(typed)}` | {_cell(meaning)} |" for typed, meaning in records]
            parts += ["", f"| {title.lower()} | meaning |", "|---|---|", *rows]
        if text.examples:
            parts += ["", "```sh", *text.examples, "```"]
        if text.exit_codes:
            parts += ["", f"**Exit codes.** {_inline(text.exit_codes)}"]
    return "\n".join(parts) + "\n"


def hooks() -> str:
    """Every hook of a backend with its signature and docstring, and the types that it takes and returns."""
    parts = [
        "# Hooks",
        "",
        f"Version {hookspecs.CONTRACT} of the contract. [Writing a backend](../writing-a-backend.md) explains it. This",
        "page is generated from `pelagos_core.plugin.hookspecs`. `detect` and `spawn` are required.",
    ]
    for name in _HOOKS:
        function = getattr(hookspecs, f"pelagos_{name}")
        signature = str(inspect.signature(function)).replace("'", "")
        needed = "required" if name in _REQUIRED else "optional"
        parts += ["", f"## pelagos_{name}", "", f"*{needed}*", "", "```python", f"def pelagos_{name}{signature}", "```"]
        parts += ["", _docstring(function)]
    for kind in (hookspecs.Description, hookspecs.Detection, hookspecs.NativePart, hookspecs.RunningProcess):
        parts += ["", f"## {kind.__name__}", "", _fields(inspect.getdoc(kind) or "")]
    for kind in (hookspecs.GuestExit, hookspecs.Trap, hookspecs.UnusableCode):
        parts += ["", f"## {kind.__name__}", "", inspect.getdoc(kind) or ""]
    return "\n".join(parts) + "\n"


def features() -> str:
    """What a backend may claim in `Description`: features, limits, areas of WASI 0.1."""
    parts = [
        "# Features and limits",
        "",
        "A backend claims them in its `Description`. `pelagos backends` shows them, and `pelagos conformance` tests",
        "those for which it has a test.",
    ]
    for title, words in (
        ("Features", claims.FEATURES),
        ("Limits", claims.LIMITS),
        ("Areas of WASI 0.1", claims.WASI_0_1_AREAS),
    ):
        parts += ["", f"## {title}", "", "| word | meaning |", "|---|---|"]
        parts += [f"| `{word}` | {_cell(meaning)} |" for word, meaning in words.items()]
    return "\n".join(parts) + "\n"


def _docstring(function: object) -> str:
    """A docstring with its fields as a list."""
    text = inspect.getdoc(function) or ""
    first = _FIELD.search(text)
    if not first:
        return text
    head, rest = text[: first.start()].rstrip(), text[first.start() :]
    found = list(_FIELD.finditer(rest))
    ends = [match.start() for match in found[1:]] + [len(rest)]
    items = []
    for match, end in zip(found, ends, strict=True):
        body = " ".join(rest[match.end() : end].split())
        words = {"param": f"`{match['name']}`", "return": "returns", "raises": f"raises `{match['name']}`"}
        items.append(f"- {words[match['kind']]}: {body}")
    return "\n".join([head, "", *items])


def _fields(text: str) -> str:
    """A docstring of a dataclass, whose paragraph of `name: meaning` lines becomes a list."""
    return re.sub(r"^(\w+(?:, \w+)*): ", r"- `\1`: ", text, flags=re.MULTILINE)


def _inline(text: str) -> str:
    """Text with no mark of Markdown's but code, which it is written with."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
