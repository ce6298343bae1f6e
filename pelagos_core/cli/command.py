"""The commands' own class: what its help says, and in which order. The manual and the reference are made of the same.

A command's docstring is its text: the first paragraph is its purpose; a paragraph that click does not wrap (it begins
with `\\b`) has examples; one that begins with "Exit codes:" has them; all others describe it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from pelagos_core.cli import mistakes, voice

_UNWRAPPED = "\b\n"
_EXIT_CODES = "Exit codes: "
OPTIONS = "Options"
_WIDEST = 30  # columns of what is typed, beside which there is what it means


class Text(NamedTuple):
    """The parts of a command's docstring. Paragraphs have no line ends; examples are lines."""

    purpose: str
    description: tuple[str, ...]
    examples: tuple[str, ...]
    exit_codes: str

    @classmethod
    def of(cls, command: click.Command) -> Text:
        """The text of any command."""
        paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
        examples = [line for each in paragraphs if each.startswith(_UNWRAPPED) for line in each.split("\n")[1:]]
        prose = [" ".join(each.split()) for each in paragraphs if not each.startswith(_UNWRAPPED)]
        codes = " ".join(each.removeprefix(_EXIT_CODES) for each in prose if each.startswith(_EXIT_CODES))
        codes = codes[:1].upper() + codes[1:]
        purpose, *description = [each for each in prose if not each.startswith(_EXIT_CODES)]
        return cls(purpose, tuple(description), tuple(examples), codes)


class Command(click.Command):
    """A command whose help has its options in sections, then examples and exit codes."""

    def __init__(self, *words: Any, sections: Mapping[str, str] | None = None, **more: Any) -> None:  # noqa: ANN401 (click's own)
        """sections: of each section of options, by title, the parameters' names with spaces between."""
        super().__init__(*words, **more)
        self._titles = sections or {}

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """The title of each section, and its options: what is typed, and what it means."""
        place = {name: title for title, names in self._titles.items() for name in names.split()}
        found: dict[str, list[tuple[str, str]]] = {title: [] for title in (*self._titles, OPTIONS)}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                found[place.get(parameter.name or "", OPTIONS)].append(record)
        return ((title, records) for title, records in found.items() if records)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The purpose and the description."""
        text = Text.of(self)
        for paragraph in (text.purpose, *text.description):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(paragraph)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, by section."""
        for title, records in self.sections(ctx):
            with formatter.section(title):
                formatter.write_dl(records, col_max=min(_WIDEST, formatter.width * 3 // 8))
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples and exit codes."""
        text = Text.of(self)
        if text.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':>{formatter.current_indent}}{line}\n" for line in text.examples))
        if text.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_text(text.exit_codes)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (as above)
        """Carry it out. What it complains of is said in its name."""
        voice.speak_for(ctx.command_path)
        return super().invoke(ctx)


def contexts(context: click.Context) -> Iterator[click.Context]:
    """The context of a command, and those of all commands below it, in the order of the help."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            child = context.command.get_command(context, name)
            assert child
            yield from contexts(click.Context(child, context, name, **child.context_settings))


class Group(Command, click.Group):
    """A command with commands of its own."""

    command_class = Command
    elsewhere: Mapping[str, str] = MappingProxyType({})  # a command that it does not have, and what is in its place

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were declared."""
        return list(self.commands)

    def chapters(self, ctx: click.Context) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the names of the commands below each."""
        yield "Commands", self.list_commands(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, each with its whole purpose: click would cut it off."""
        for title, names in self.chapters(ctx):
            with formatter.section(title):
                formatter.write_dl([(name, self.purpose(ctx, name)) for name in names], col_max=14)

    def purpose(self, ctx: click.Context, name: str) -> str:
        """What one of its commands is for."""
        command = self.get_command(ctx, name)
        return Text.of(command).purpose if command else ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """click's, which would import each command for what it is for."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self.purpose(ctx, name)) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click's, with a suggestion for what there is not."""
        known = self.list_commands(ctx)
        word = args[0]
        if word[:1] != "-" and word not in known:
            if word in self.elsewhere:
                raise mistakes.Elsewhere(f"no such command '{word}': {self.elsewhere[word]}", ctx)
            raise click.UsageError(f"no such command '{word}'{mistakes.near(word, known)}", ctx)
        return super().resolve_command(ctx, args)


def command(**more: Any) -> Callable[[Callable[..., object]], Command]:  # noqa: ANN401 (click's own)
    """Make a command of a function. more: of `Command`."""
    return click.command(cls=Command, **more)


def group(**more: Any) -> Callable[[Callable[..., object]], Group]:  # noqa: ANN401 (click's own)
    """Make a group of a function. more: of `Group`."""
    return click.group(cls=Group, **more)
