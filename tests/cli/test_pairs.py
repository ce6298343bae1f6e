"""`NAME=VALUE` in options."""

import click
import pytest

from pelagos_core.cli import pairs


def test_a_bare_name_passes_ours_on(monkeypatch):
    monkeypatch.setenv("MINE", "1=2")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert pairs.variables(("A=", "MINE", "NOT_SET", "B=x=y")) == ("A=", "MINE=1=2", "B=x=y")
    with pytest.raises(click.BadParameter, match="is not NAME=VALUE"):
        pairs.variable("=x")


def test_the_last_value_counts_and_a_bare_name_is_refused():
    assert pairs.pairs(("a=1", "b=", "a=2"), "--label") == {"a": "2", "b": ""}
    with pytest.raises(click.BadParameter, match="'a' is not NAME=VALUE"):
        pairs.pairs(("a",), "--label")
