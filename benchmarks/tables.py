"""Prints a run, its targets, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks import breakdown
from benchmarks.catalogue import SCENARIOS
from benchmarks.report import Comparison, Report
from benchmarks.samples import Figure
from benchmarks.targets import OURS, RUNC, TARGETS

_WHOLE = 100  # from this value on, decimals are not significant
_WORDS = frozenset({"what", "case", "figure", "ms", ""})  # columns that hold no numbers
_STATES = {"reached": "green", "missed": "red"}
_VERDICTS = {"better": "green", "worse": "red", "same": "dim"}


def print_report(report: Report, console: Console) -> None:
    """Print one table for each scenario, then the targets."""
    console.print("\n".join(_made(report.made)))
    for name, scenario in SCENARIOS.items():
        figures = [figure for figure in report.figures if figure.key.scenario == name]
        if figures:
            console.print(_scenario(scenario.title, figures))
    console.print(_targets(report))
    for failure in report.made.get("failures") or ():  # type: ignore[attr-defined]  # a list in the JSON
        console.print(f"[red]failed:[/red] {failure}")


def print_comparison(rows: Sequence[Comparison], console: Console) -> None:
    """Print for each figure of two runs: the values, their ratio, and whether the difference is significant."""
    table = _table("Two runs", "scenario", "case", "contender", "figure")
    for title in ("before", "after", "ratio", ""):
        table.add_column(title, justify="right")
    for row in rows:
        colour = _VERDICTS[row.verdict]
        numbers = (number(row.before.value), number(row.after.value), f"{row.ratio:.2f}")
        table.add_row(*row.before.key[:3], _titled(row.before), *numbers, f"[{colour}]{row.verdict}[/{colour}]")
    console.print(table)


def markdown(report: Report) -> str:
    """The targets and all scenarios as Markdown tables, for the documentation."""
    made = "\n".join(f"- {line}" for line in _made(report.made))
    parts = [made, _markdown_table(("what", "measured", "target", ""), _target_rows(report))]
    if rows := _breakdown(report):
        parts.append(f"### One ctr run --rm, by phase\n\n{_markdown_table(('ms', OURS, RUNC), rows)}")
    for name, scenario in SCENARIOS.items():
        figures = [f for f in report.figures if f.key.scenario == name and _is_worth_a_line(f)]
        if figures:
            header, rows = _grid(figures)
            parts.append(f"### {scenario.title} (`{name}`)\n\n{_markdown_table(header, rows)}")
    return "\n\n".join(parts) + "\n"


def number(value: float) -> str:
    """A number with three significant digits: 1234, 12.3, 0.123."""
    return f"{value:.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"


def _made(made: dict[str, object]) -> list[str]:
    versions = made.get("versions") or {}
    assert isinstance(versions, dict)
    loads = [made.get("load_before"), made.get("load_after")]
    before, after = (f"{load[0]:.1f}" if isinstance(load, (list, tuple)) else "?" for load in loads)
    return [
        f"{made['date']}, revision {made['revision']}",
        f"{made['cpu']}, {made['cores']} cores, {made['memory_gib']} GiB; Linux {made['kernel']}, "
        f"cgroup v{made['cgroups']}; Python {made['python']}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"load average before {before}, after {after}",
    ]


def _scenario(title: str, figures: Sequence[Figure]) -> Table:
    header, rows = _grid(figures)
    table = _table(title, *header[:2])
    for name in header[2:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _grid(figures: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A header and rows, with a column for each contender and one for the ratio."""
    contenders = list(dict.fromkeys(figure.key.contender for figure in figures))
    values = {(f.key.case, _titled(f), f.key.contender): f.value for f in figures}
    compared = {OURS, RUNC} <= set(contenders)
    header = ["case", "figure", *contenders, *([f"{OURS} / {RUNC}"] if compared else [])]
    rows, last = [], ""
    for case, metric in dict.fromkeys((f.key.case, _titled(f)) for f in figures):
        row = [values.get((case, metric, contender)) for contender in contenders]
        cells = ["" if value is None else number(value) for value in row]
        if compared:
            cells.append(_ratio(values.get((case, metric, OURS)), values.get((case, metric, RUNC))))
        rows.append(["" if case == last else case, metric, *cells])
        last = case
    return header, rows


def _breakdown(report: Report) -> list[list[str]]:
    """The parts of a whole command, for pelagos and runc."""
    ours, theirs = (breakdown.of_ctr_run(report, contender) for contender in (OURS, RUNC))
    if not ours or not theirs:
        return []
    both = {**{name: (ours[name], theirs[name]) for name in ours}, "all": (sum(ours.values()), sum(theirs.values()))}
    return [[name, number(a), number(b)] for name, (a, b) in both.items()]


def _is_worth_a_line(figure: Figure) -> bool:
    """Whether a figure is shown in the documentation: of phases only the medians are."""
    return not figure.key.metric.endswith(" p99") or figure.key.metric in ("task p99", "command p99", "all phases p99")


def _targets(report: Report) -> Table:
    table = _table("Targets", "what")
    for title in ("measured", "target", ""):
        table.add_column(title, justify="right")
    for *cells, word in _target_rows(report):
        colour = _STATES[word]
        table.add_row(*cells, f"[{colour}]{word}[/{colour}]")
    return table


def _target_rows(report: Report) -> list[list[str]]:
    rows = []
    for target in TARGETS:
        value = target.value(report)
        if value is not None:
            sign = ">=" if target.at_least else "<="
            word = "reached" if target.reached(report) else "missed"
            rows.append([target.text, f"{value:.3g} {target.unit}", f"{sign} {target.limit:g} {target.unit}", word])
    return rows


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---" if title in _WORDS else "--:" for title in header], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _titled(figure: Figure) -> str:
    return f"{figure.key.metric}, {figure.unit}" if figure.unit else figure.key.metric


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "" if ours is None or not theirs else f"{ours / theirs:.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table
