"""`NAME=VALUE` in options."""

import click
import pytest

from pelagos_core.cli import pairs
from pelagos_core.errors import InvalidArgument, NotFound


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


def test_a_file_has_a_variable_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MINE", "yes")
    (tmp_path / "env").write_bytes(b'A=1\r\n#B=2\nQUOTED="x"\nMINE\nNOT_SET_HERE\n  C= d\n')
    assert pairs.of_files((str(tmp_path / "env"),)) == ("A=1", 'QUOTED="x"', "MINE=yes", "C= d")


@pytest.mark.parametrize("line", [b"=x", b"A B=1", b"A\tB", b"A=\0"])
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "env").write_bytes(b"OK=1\n" + line)
    with pytest.raises(InvalidArgument, match="line 2"):
        pairs.of_files((str(tmp_path / "env"),))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff=1")
    (tmp_path / "large").write_bytes(b"A" * (1 << 20 | 1))
    with pytest.raises(NotFound, match="does not exist"):
        pairs.of_files((str(tmp_path / "none"),))
    for name, text in (("binary", "is not UTF-8"), ("large", "more than"), (".", "directory")):
        with pytest.raises(InvalidArgument, match=text):
            pairs.of_files((str(tmp_path / name),))
