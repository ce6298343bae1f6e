import pytest

from benchmarks.catalogue import SCENARIOS
from benchmarks.report import Report
from benchmarks.samples import Figure, Key
from benchmarks.targets import TARGETS, Target, figure, ratio


def report(**values):
    return Report({}, [Figure(Key("s", "", name, "m"), "ms", (value,)) for name, value in values.items()])


OURS = figure("s", "", "m")
THEIRS = figure("s", "", "m", "runc")


@pytest.mark.parametrize(("ours", "at_most", "at_least"), [(5.0, True, False), (6.0, True, True), (7.0, False, True)])
def test_a_promise_is_kept_on_its_side_of_the_limit(ours, at_most, at_least):
    measured = report(pelagos=ours, runc=10.0)
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(measured) is at_most
    assert Target("", ratio(OURS, THEIRS), 0.6, at_least=True).reached(measured) is at_least


def test_what_was_not_measured_is_neither_kept_nor_broken():
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(report(pelagos=5.0)) is None
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(report(pelagos=5.0, runc=0.0)) is None


class Asked:
    """Takes down what a promise asks a report for."""

    def __init__(self):
        self.scenarios = set()

    def value(self, scenario, case, contender, metric):
        self.scenarios.add(scenario)
        return 1.0


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.text)
def test_every_promise_is_of_a_scenario(target):
    asked = Asked()
    assert target.value(asked) == 1.0
    assert asked.scenarios <= set(SCENARIOS)
