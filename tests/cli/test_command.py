"""The help of every command: its parts, in sections, within the width of a terminal."""

import subprocess
import sys

import click
import pytest

from pelagos_core.cli.command import OPTIONS, Command, Group, Text, command, contexts, group
from pelagos_core.cli.command_line import cli

ALL = {each.command_path: each for each in contexts(click.Context(cli, info_name="pelagos", **cli.context_settings))}
LEAVES = [path for path, context in ALL.items() if not isinstance(context.command, Group)]


def test_a_docstring_has_a_purpose_a_description_examples_and_exit_codes():
    @command()
    def fly() -> None:
        """Take off.

        Needs
        wings.

        \b
        fly --high
        fly --low

        Exit codes: 1 without wings.
        """

    assert Text.of(fly) == ("Take off.", ("Needs wings.",), ("fly --high", "fly --low"), "1 without wings.")


def test_options_are_in_the_sections_that_are_declared_and_the_rest_at_the_end():
    @command(sections={"Height": "high"})
    @click.option("--fast", is_flag=True, help="Hurry.")
    @click.option("--high", is_flag=True, help="Above the clouds.")
    @click.argument("where")
    def fly(where: str, *, high: bool, fast: bool) -> None:
        """Take off."""

    found = dict(fly.sections(click.Context(fly)))
    assert list(found) == ["Height", OPTIONS]
    assert found["Height"] == [("--high", "Above the clouds.")]
    assert [typed for typed, _ in found[OPTIONS]] == ["--fast", "--help"]


def test_commands_of_a_group_are_listed_as_they_were_declared_and_one_that_is_none_is_a_mistake():
    @group()
    def birds() -> None:
        """Birds."""

    for name in ("wren", "crow"):
        birds.command(name)(lambda: None)
    context = click.Context(birds)
    assert birds.list_commands(context) == ["wren", "crow"]
    assert isinstance(birds.commands["wren"], Command)
    with pytest.raises(click.UsageError, match=r"'wrn'; did you mean 'wren'\?"):
        birds.resolve_command(context, ["wrn"])


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_help_fits_the_terminal_and_cuts_nothing_off(path, width):
    context = ALL[path]
    formatter = click.HelpFormatter(width=min(width - 2, 100))
    context.command.format_help(context, formatter)
    text = formatter.getvalue()
    examples = {f"  {line}" for line in Text.of(context.command).examples}
    typed = {row for _, records in context.command.sections(context) for row, _ in records}
    for line in text.splitlines():
        assert len(line) < width or line in examples or line.strip() in typed
    assert text.startswith(f"Usage: {path} ")
    assert "..." not in text.partition("\n\n")[2].replace("...]", "")


@pytest.mark.parametrize("path", ALL)
def test_exit_codes_are_never_in_the_description(path):
    assert not [each for each in Text.of(ALL[path].command).description if each.startswith("Exit code")]


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in ("pelagos zygote", "pelagos cache")])
def test_every_command_has_a_purpose_of_one_sentence_and_examples_of_its_own(path):
    text = Text.of(ALL[path].command)
    assert text.purpose.endswith(".")
    assert ". " not in text.purpose
    assert text.examples
    assert all(path in line for line in text.examples)


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_says_what_it_does_and_every_section_has_options(path):
    context = ALL[path]
    for parameter in context.command.params:
        assert isinstance(parameter, click.Argument) or parameter.help
    named = {name for names in context.command._titles.values() for name in names.split()}
    assert named <= {parameter.name for parameter in context.command.params}


@pytest.mark.parametrize("name", list(cli.list_commands(click.Context(cli))))
def test_the_purposes_that_are_known_without_an_import_are_those_of_the_commands(name):
    context = click.Context(cli)
    assert cli.purpose(context, name) == Text.of(cli.get_command(context, name)).purpose


def test_help_and_completion_import_no_command():
    code = (
        "import sys; from pelagos_core.cli import command_line as it; import click; context = click.Context(it.cli);"
        "it.cli.get_help(context); it.cli.shell_complete(context, ''); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"pelagos_core.cli.{module}" for module in ("run", "install", "doctor", "inspect")} & set(loaded)
