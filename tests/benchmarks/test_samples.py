import pytest

from benchmarks.samples import Figure, Figures, Key, Measured, latencies, percentile

KEY = Key("throughput", "1 at a time", "pelagos", "rate")


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.1, 100), (100, 100)], ids=str
)
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_of_few_values_the_99th_percentile_is_the_last():
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 99)


def test_latencies_are_reported_in_milliseconds():
    assert list(latencies("c", "task", [0.001, 0.002, 0.1])) == [
        Measured("c", "task p50", "ms", 2.0),
        Measured("c", "task p99", "ms", 100.0),
    ]


def test_a_figure_is_the_median_of_its_rounds():
    assert Figure(KEY, "tasks/s", (90.0, 400.0, 100.0)).value == 100.0
    assert Figure(KEY, "tasks/s", (90.0, 100.0, 120.0)).spread == pytest.approx(0.15)
    assert Figure(KEY, "MiB", (0.0, 0.0)).spread == 0.0


def test_rounds_are_collected_by_what_they_are_about():
    figures = Figures()
    for value in (1.0, 3.0):
        figures.add("throughput", "pelagos", Measured("1 at a time", "rate", "tasks/s", value))
        figures.add("throughput", "runc", Measured("1 at a time", "rate", "tasks/s", value * 2))
    assert figures.all() == [
        Figure(KEY, "tasks/s", (1.0, 3.0)),
        Figure(KEY._replace(contender="runc"), "tasks/s", (2.0, 6.0)),
    ]
