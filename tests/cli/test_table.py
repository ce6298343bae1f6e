"""Tables: one line a row in a pipe, whole words on a terminal of any width."""

import subprocess
import sys

import pytest

from pelagos_core.cli.table import lines
from tests.support.screen import at_terminal

HEADER = ["NAME", "RUNS", "LIMITS"]
ROWS = [["wasmtime", "ahead-of-time, argv0, component, cwd, function, module, read-only", "fuel"], ["x", "wat", "-"]]
WORDS = {word for row in ROWS for cell in row for word in cell.split()}


def test_in_a_pipe_each_row_is_one_line_with_columns_in_line():
    found = lines(HEADER, ROWS, None)
    assert [line.split()[0] for line in found] == ["NAME", "wasmtime", "x"]
    assert len({line.index(word) for line, word in zip(found, ("LIMITS", "fuel", "-"), strict=True)}) == 1


@pytest.mark.parametrize("width", [24, 36, 40, 60, 80, 200])
def test_on_a_terminal_no_word_is_cut_and_no_line_is_wider(width):
    found = lines(HEADER, ROWS, width)
    assert {word for line in found for word in line.split()} >= WORDS
    assert max(map(len, found)) <= width


def test_a_long_path_is_cut_and_keeps_the_table_a_table():
    path = "/" + "x" * 70
    header, first, second, third, *_ = lines(["ID", "COMMAND"], [["one", path], ["two", "a b"]], 40)
    assert header.split() == ["ID", "COMMAND"]
    assert first.split() == ["one", path[:35]]
    assert (second.split(), third.split()) == ([path[35:70]], [path[70:]])


def test_a_terminal_that_is_too_narrow_for_a_table_gets_lists():
    found = lines(HEADER, ROWS, 24)
    assert found[0].split() == ["NAME", "wasmtime"]
    assert found.count("") == 1


def test_wide_and_combining_letters_keep_the_columns_in_line():
    first, second = lines(["A", "B"], [["\u6c34e\u0301", "x"]], None)
    assert (first, second) == ("A    B", "\u6c34e\u0301  x")


def test_what_a_terminal_would_act_on_is_not_printed():
    assert lines(["A"], [["\x1b[2Jx\ny"]], None)[1] == "?[2Jx y"


def test_no_rows_are_a_header():
    assert lines(HEADER, [], None) == ["NAME  RUNS  LIMITS"]


PRINTS = f"""
import os, sys
if sys.stdout.isatty():
    os.system('stty cols ' + sys.argv[1])
from pelagos_core.cli.table import print_table
print_table({HEADER!r}, {ROWS!r})
"""


@pytest.mark.parametrize("width", [60, 80, 200])
def test_what_is_printed_fits_the_terminal_and_in_a_pipe_is_one_line_a_row(width):
    words = [sys.executable, "-c", PRINTS, str(width)]
    code, screen = at_terminal(words, {})
    assert code == 0
    assert max(map(len, screen.splitlines())) <= width
    assert screen.count("ahead-of-time,") == 1
    assert len(subprocess.run(words, capture_output=True, text=True).stdout.splitlines()) == 3
