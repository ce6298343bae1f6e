from xml.etree import ElementTree

import pytest

from benchmarks import chart
from benchmarks.report import Report
from benchmarks.samples import Figure, Key

MADE = {"revision": "abc", "date": "2026-01-02T03:04:05", "cpu": "a <fast> one", "cores": 2}
SVG = "{http://www.w3.org/2000/svg}"


def draw(*figures):
    rows = [Figure(Key(*key), unit, (value,)) for key, unit, value in figures]
    return ElementTree.fromstring(chart.draw(Report(MADE, rows)))


def widths(picture):
    return [float(rect.get("width")) for rect in picture.iter(f"{SVG}rect")]


def texts(picture):
    return [text.text for text in picture.iter(f"{SVG}text")]


def rate(contender, value):
    return (("throughput", "1 at a time", contender, "rate"), "tasks/s", value)


def test_bars_are_as_long_as_their_values():
    picture = draw(rate("pelagos", 120.0), rate("runc", 30.0))
    longest, shorter = widths(picture)
    assert longest == pytest.approx(4 * shorter, abs=0.3)
    assert {"1 at a time: pelagos", "120", "1 at a time: runc", "30"} <= set(texts(picture))


def test_what_was_not_measured_has_no_panel():
    assert texts(draw()) == ["pelagos abc, 2026-01-02; a <fast> one, 2 cores"]


def test_phases_stand_one_after_another():
    picture = draw(
        (("new-pods", "", "pelagos", "create p50"), "ms", 6.0), (("new-pods", "", "pelagos", "exit p50"), "ms", 3.0)
    )
    bars = [(float(r.get("x")), float(r.get("width"))) for r in picture.iter(f"{SVG}rect") if float(r.get("width"))]
    (create, exit_seen) = [bar for bar in bars if bar[1] > 10]
    assert create[1] == pytest.approx(2 * exit_seen[1], abs=0.2)
    assert exit_seen[0] == pytest.approx(create[0] + create[1], abs=0.2)


def test_modules_are_drawn_on_a_logarithmic_axis():
    picture = draw(
        (("modules", "a, warm", "pelagos", "task p50"), "ms", 10.0),
        (("modules", "b, warm", "pelagos", "task p50"), "ms", 100.0),
    )
    small, large = widths(picture)
    assert large == pytest.approx(2 * small, abs=0.2)
