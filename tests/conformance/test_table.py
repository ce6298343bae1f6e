"""What the kit prints at the end, for given outcomes."""

import types

import pytest

from pelagos_core.conformance.table import FEATURE, Table


class Reporter:
    """Pytest's terminal, as far as the table uses it."""

    def __init__(self):
        self.lines = []

    def section(self, title):
        self.lines.append(title)

    def line(self, text):
        self.lines.append(text)


def report(feature, outcome, when="call", reason=""):
    made = types.SimpleNamespace(
        failed=outcome == "failed", skipped=outcome == "skipped", when=when, longrepr=("file", 1, reason)
    )
    setattr(made, FEATURE, feature)
    return made


def told(*reports, exitstatus=pytest.ExitCode.OK):
    """The lines that are printed after these reports, and the exit code."""
    reporter = Reporter()
    plugins = types.SimpleNamespace(get_plugin=lambda name: reporter)
    config = types.SimpleNamespace(pluginmanager=plugins, getoption=lambda name: "engine", getini=lambda name: "")
    session = types.SimpleNamespace(config=config, exitstatus=exitstatus)
    table = Table(config, lambda: "title")
    for each in reports:
        table.pytest_runtest_logreport(each)
    ending = table.pytest_sessionfinish(session)
    next(ending)
    with pytest.raises(StopIteration):
        next(ending)
    return reporter.lines, session.exitstatus


def test_a_line_says_the_worst_of_its_tests_and_the_last_line_counts():
    lines, code = told(
        report("a", "passed", "setup"),
        report("a", "passed"),
        report("bb", "passed"),
        report("bb", "failed"),
        report("c", "skipped", "setup", "Skipped: not claimed: fuel"),
        report("d", "skipped", "setup", "Skipped: not run: needs root"),
        exitstatus=pytest.ExitCode.TESTS_FAILED,
    )
    assert lines == [
        "title",
        "a   pass",
        "bb  FAIL",
        "c   not claimed",
        "d   not run",
        "engine: 1 FAIL, 1 pass, 1 not claimed, 1 not run",
    ]
    assert code == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("reports", [(), (report("a", "skipped", "setup", "Skipped: not claimed: x"),)])
def test_nothing_that_was_tried_is_not_green(reports):
    lines, code = told(*reports)
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "nothing was tested" in lines[-1]


def test_a_failure_in_a_fixture_is_a_failure():
    lines, _ = told(report("a", "failed", "setup"), exitstatus=pytest.ExitCode.TESTS_FAILED)
    assert lines[1] == "a  FAIL"


def test_a_run_that_was_interrupted_has_no_table():
    lines, code = told(report("a", "passed"), exitstatus=pytest.ExitCode.INTERRUPTED)
    assert (lines, code) == ([], pytest.ExitCode.INTERRUPTED)
