from benchmarks import breakdown
from benchmarks.report import Report
from benchmarks.samples import Figure, Key


def report(whole, *leave_out):
    values = {("ctr", "ctr run --rm", "command p50"): whole, ("ctr", "ctr version", "command p50"): 7.0}
    values |= {("new-pods", "", f"{phase} p50"): 2.0 for phase in breakdown.PHASES if phase not in leave_out}
    figures = [Figure(Key(s, case, "pelagos", metric), "ms", (v,)) for (s, case, metric), v in values.items()]
    return Report({}, figures)


def test_the_parts_add_up_to_the_whole_command():
    parts = breakdown.of_ctr_run(report(50.0), "pelagos")
    assert tuple(parts) == breakdown.PARTS
    assert sum(parts.values()) == 50.0
    assert parts[breakdown.REST] == 50.0 - 7.0 - 6 * 2.0


def test_there_is_no_rest_below_nothing():
    assert breakdown.of_ctr_run(report(5.0), "pelagos")[breakdown.REST] == 0.0


def test_without_one_part_there_is_no_breakdown():
    assert breakdown.of_ctr_run(report(50.0, "create"), "pelagos") == {}
    assert breakdown.of_ctr_run(report(50.0), "runc") == {}
