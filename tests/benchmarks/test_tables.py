import io

import pytest
from rich.console import Console

from benchmarks import tables
from benchmarks.report import Report, compare
from benchmarks.samples import Figure, Key

MADE = {"date": "d", "revision": "abc", "cpu": "c", "cores": 2, "memory_gib": 4, "kernel": "6", "cgroups": 1}


def printed(show, *args):
    console = Console(width=140, file=io.StringIO())
    show(*args, console)
    return console.file.getvalue()


def report(*rates, failures=()):
    rows = [Figure(Key("throughput", "1 at a time", n, "rate"), "tasks/s", (v,)) for n, v in rates]
    return Report({**MADE, "python": "3", "failures": list(failures)}, rows)


def test_a_report_is_a_table_with_a_ratio_and_the_targets():
    text = printed(
        tables.print_report, report(("pelagos", 160.0), ("runc", 16.0), failures=["ctr: runc: no such thing"])
    )
    assert "Tasks through one shim" in text
    (row,) = [line for line in text.splitlines() if "rate" in line]
    assert row.split()[-3:] == ["160", "16", "10.00"]
    assert "reached" in text
    assert "failed: ctr: runc: no such thing" in text


def test_two_runs_are_a_table_with_a_verdict():
    before, after = report(("pelagos", 100.0)), report(("pelagos", 150.0))
    text = printed(tables.print_comparison, list(compare(before, after)))
    (row,) = [line for line in text.splitlines() if "rate" in line]
    assert row.split()[-4:] == ["100", "150", "1.50", "better"]


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1234"), (12.34, "12.3"), (0.1234, "0.123"), (0.0, "0")])
def test_numbers_have_three_digits_that_mean_something(value, text):
    assert tables.number(value) == text


def test_the_documentation_has_the_medians_of_phases_and_the_tail_of_the_whole():
    rows = [Figure(Key("throughput", "", "pelagos", name), "ms", (2.0,)) for name in ("task p99", "create p99")]
    text = tables.markdown(Report({**MADE, "python": "3"}, rows))
    assert "|  | task p99, ms | 2 |" in text
    assert "create p99" not in text
