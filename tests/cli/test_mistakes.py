"""What is said of a wrong command line: one line, and no suggestion that leads astray."""

import click
import pytest

from pelagos_core.cli import mistakes
from pelagos_core.cli.run import run

OPTIONS = [name for each in run.params if isinstance(each, click.Option) for name in each.opts]


@pytest.mark.parametrize(("typed", "meant"), [("--memry", "--memory"), ("--cpu", "--cpus"), ("--volumes", "--volume")])
def test_what_is_written_much_like_it_is_suggested(typed, meant):
    assert mistakes.near(typed, OPTIONS) == f"; did you mean '{meant}'?"


@pytest.mark.parametrize("typed", ["--entrypoint", "--privileged", "--restart", "--invoke", "--"])
def test_what_is_only_somewhat_like_it_is_not(typed):
    assert mistakes.near(typed, OPTIONS) == ""


def test_a_value_is_no_option_and_gets_no_suggestion():
    with pytest.raises(click.UsageError) as raised:
        run.make_context("run", ["--cpus", "memory", "x.wasm"])
    assert "mean" not in mistakes.describe(raised.value)
    assert mistakes.describe(raised.value).count("\n") == 0
