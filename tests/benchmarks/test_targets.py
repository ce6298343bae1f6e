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
def test_a_target_is_reached_on_its_side_of_the_limit(ours, at_most, at_least):
    measured = report(pelagos=ours, runc=10.0)
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(measured) is at_most
    assert Target("", ratio(OURS, THEIRS), 0.6, at_least=True).reached(measured) is at_least


def test_what_was_not_measured_is_neither_reached_nor_missed():
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(report(pelagos=5.0)) is None
    assert Target("", ratio(OURS, THEIRS), 0.6).reached(report(pelagos=5.0, runc=0.0)) is None


class Asked:
    """Records what a target asks a report for."""

    def __init__(self, python):
        self.scenarios = set()
        self.made = {"python": python}

    def value(self, scenario, case, contender, metric):
        self.scenarios.add(scenario)
        return 500.0


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.text)
def test_every_target_is_of_a_scenario_on_some_interpreter(target):
    asked = [Asked("3.11.7"), Asked("3.13.1")]
    assert {target.value(each) for each in asked} - {None} in ({1.0}, {500.0})
    assert set().union(*(each.scenarios for each in asked)) <= set(SCENARIOS)


def of_scale(python, containers):
    values = {"containers": containers, "memory (PSS)": 400.0}
    rows = [Figure(Key("scale", "all", "pelagos", name), "", (value,)) for name, value in values.items()]
    return Report({"python": python}, rows)


@pytest.mark.parametrize(
    ("measured", "kept"),
    [(of_scale("3.13.1", 500.0), True), (of_scale("3.11.7", 500.0), None), (of_scale("3.13.1", 20.0), None)],
    ids=["all", "another interpreter", "fewer containers"],
)
def test_what_many_containers_take_is_a_target_of_many_and_for_interpreters_that_share_objects(measured, kept):
    (target,) = (target for target in TARGETS if target.text.startswith("500 containers"))
    assert target.reached(measured) is kept
