import pytest

from benchmarks.report import Report, compare
from benchmarks.samples import Figure, Key


def key(metric, contender="pelagos"):
    return Key("throughput", "1 at a time", contender, metric)


def report(*figures):
    return Report({"revision": "abc"}, [Figure(key(metric), unit, rounds) for metric, unit, rounds in figures])


def verdict(before, after, unit):
    (row,) = compare(report(("m", unit, before)), report(("m", unit, after)))
    return row.verdict, row.ratio


def test_a_report_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "a.json"
    saved = report(("rate", "tasks/s", (100.0, 110.5)), ("task p50", "ms", (8.25,)))
    saved.save(path)
    assert Report.load(path) == saved


def test_another_file_is_no_report(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"format": 99}')
    with pytest.raises(ValueError, match="not a report of format 1"):
        Report.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a report of format 1"):
        Report.load(path)


def test_a_value_is_found_by_what_it_is_about():
    found = report(("rate", "tasks/s", (100.0, 120.0)))
    assert found.value("throughput", "1 at a time", "pelagos", "rate") == 110.0
    assert found.value("throughput", "4 at a time", "pelagos", "rate") is None


def test_more_tasks_are_better_and_more_milliseconds_are_worse():
    assert verdict((100.0,), (200.0,), "tasks/s") == ("better", 2.0)
    assert verdict((200.0,), (100.0,), "tasks/s") == ("worse", 0.5)
    assert verdict((10.0,), (20.0,), "ms") == ("worse", 2.0)
    assert verdict((20.0,), (10.0,), "ms") == ("better", 0.5)


def test_a_change_within_the_noise_of_the_rounds_is_none():
    assert verdict((100.0,), (104.0,), "ms")[0] == "same"
    assert verdict((80.0, 100.0, 120.0), (118.0,), "ms")[0] == "same"
    assert verdict((100.0,), (118.0,), "ms")[0] == "worse"


def test_a_figure_of_nothing_has_an_infinite_ratio():
    assert verdict((0.0,), (1.0,), "ms") == ("worse", float("inf"))


def test_only_what_both_runs_have_is_compared():
    before = report(("rate", "tasks/s", (1.0,)), ("gone", "ms", (1.0,)))
    after = report(("new", "ms", (1.0,)), ("rate", "tasks/s", (1.0,)))
    assert [row.before.key.metric for row in compare(before, after)] == ["rate"]
