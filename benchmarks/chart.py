"""Draws a run as an SVG picture, without a library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks import breakdown
from benchmarks.report import Report
from benchmarks.scenarios import density, new_pods, throughput
from benchmarks.stage import FULL
from benchmarks.tables import number

WIDTH = 860
_LABEL, _RIGHT = 330, 60  # left and right of the bars
_ROW, _GAP, _TITLE = 22, 14, 40
_LEGEND = 4  # names in one line
# Distinguishable also with a colour vision deficiency, on white and on black.
_COLOURS = ("#3b82c4", "#9aa3ad", "#d98324", "#4f9d69", "#b65fa8", "#8a6d3b", "#c4515b", "#5f6b7a")
_TEXT = "#767e87"


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a panel: its parts, and the text at its end."""

    label: str
    parts: tuple[tuple[float, int], ...]
    text: str

    @property
    def total(self) -> float:
        """The bar's length, in the panel's unit."""
        return sum(value for value, _ in self.parts)


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars with the same unit. logarithmic: for values of different orders of magnitude; each bar then has one part."""

    title: str
    bars: tuple[Bar, ...]
    legend: tuple[str, ...] = ()
    logarithmic: bool = False

    @property
    def height(self) -> int:
        """In pixels."""
        return _TITLE + _ROW * (len(self.bars) + math.ceil(len(self.legend) / _LEGEND)) + _GAP


def draw(report: Report) -> str:
    """The whole picture, without panels for which nothing was measured."""
    panels = [panel for panel in _panels(report) if panel.bars]
    made = report.made
    caption = f"pelagos {made['revision']}, {str(made['date'])[:10]}; {made['cpu']}, {made['cores']} cores"
    body, top = [_text(0, 18, caption)], 30
    for panel in panels:
        body += _draw_panel(panel, top)
        top += panel.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="13" '
        'role="img" aria-labelledby="title">\n<title id="title">Bars of each measurement; the tables have the figures'
        "</title>"
    )
    return "\n".join((head, *body, "</svg>", ""))


def _panels(report: Report) -> list[Panel]:
    cases = [throughput.case(count) for count in throughput.AT_A_TIME]
    further = [*map(density.of, FULL.idle_containers), "each further pod"]
    return [
        _simple(report, "Tasks per second through one shim (longer is better)", "throughput", cases, "rate"),
        _phases(report),
        _ctr_run(report),
        _simple(report, "Memory of all processes (PSS), MiB", "memory", further, "memory (PSS)"),
        _simple(
            report,
            "Create and start of one more container, ms",
            "scale",
            ["at the 1st", "at the last"],
            "create and start p50",
        ),
        _modules(report),
        _timeline(report),
    ]


def _contenders(report: Report, scenario: str) -> list[str]:
    return list(dict.fromkeys(f.key.contender for f in report.figures if f.key.scenario == scenario))


def _simple(report: Report, title: str, scenario: str, cases: Sequence[str], metric: str) -> Panel:
    """A bar for each case and contender, coloured by the contender."""
    bars = []
    for case in cases:
        for colour, contender in enumerate(_contenders(report, scenario)):
            value = report.value(scenario, case, contender, metric)
            if value is not None:
                bars.append(Bar(f"{case}: {contender}", ((value, colour),), number(value)))
    return Panel(title, tuple(bars))


def _phases(report: Report) -> Panel:
    """A bar for each contender, in parts for the phases."""
    bars = []
    for contender in _contenders(report, "new-pods"):
        values = [report.value("new-pods", "", contender, f"{phase} p50") or 0 for phase in new_pods.PHASES]
        bars.append(_stacked(contender, values))
    return Panel("A new pod and its task by phase, medians, ms", tuple(bars), new_pods.PHASES)


def _ctr_run(report: Report) -> Panel:
    """A bar for each contender, in parts for the phases of a whole `ctr run --rm`."""
    found = {contender: breakdown.of_ctr_run(report, contender) for contender in _contenders(report, "ctr")}
    bars = [_stacked(contender, list(parts.values())) for contender, parts in found.items() if parts]
    return Panel("One ctr run --rm by phase, medians, ms", tuple(bars), breakdown.PARTS)


def _stacked(label: str, values: Sequence[float]) -> Bar:
    return Bar(label, tuple(zip(values, range(len(values)), strict=True)), number(sum(values)))


def _modules(report: Report) -> Panel:
    """Every program and engine: first ever, cold node, warm."""
    bars = []
    figures = [f for f in report.figures if f.key.scenario == "modules" and f.unit == "ms"]
    order = list(dict.fromkeys(f.key.case for f in figures))
    for figure in sorted(figures, key=lambda figure: order.index(figure.key.case)):
        colour = _contenders(report, "modules").index(figure.key.contender)
        label = f"{figure.key.case}: {figure.key.contender}"
        bars.append(Bar(label, ((figure.value, colour),), number(figure.value)))
    return Panel("Modules of all sizes, ms (logarithmic)", tuple(bars), logarithmic=True)


def _timeline(report: Report) -> Panel:
    """A bar for each step of a task, in order."""
    figures = [figure for figure in report.figures if figure.key.scenario == "timeline"]
    bars = tuple(Bar(f.key.metric, ((f.value, 0),), number(f.value)) for f in figures)
    return Panel("Where the time of a task goes, ms up to each step (strace slows it)", bars)


def _draw_panel(panel: Panel, top: int) -> list[str]:
    lines = [_text(0, top + 24, panel.title, bold=True)]
    longest = max(bar.total for bar in panel.bars)
    y = top + _TITLE
    for bar in panel.bars:
        lines.append(_text(_LABEL - 8, y + 15, bar.label, anchor="end"))
        x = float(_LABEL)
        for value, colour in bar.parts:
            width = _length(value, longest, panel.logarithmic)
            fill = _COLOURS[colour % len(_COLOURS)]
            lines.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="{fill}"/>')
            x += width
        lines.append(_text(x + 6, y + 15, bar.text))
        y += _ROW
    return [*lines, *_legend(panel.legend, y)]


def _legend(names: Sequence[str], top: int) -> list[str]:
    lines, x = [], _LABEL
    for colour, name in enumerate(names):
        if colour and colour % _LEGEND == 0:
            x, top = _LABEL, top + _ROW
        lines.append(f'<rect x="{x}" y="{top + 6}" width="10" height="10" fill="{_COLOURS[colour]}"/>')
        lines.append(_text(x + 14, top + 15, name))
        x += 28 + 7 * len(name)
    return lines


def _length(value: float, longest: float, logarithmic: bool) -> float:
    """The length of a bar in pixels. A logarithmic axis begins at 1."""
    room = WIDTH - _LABEL - _RIGHT
    if logarithmic:
        return room * math.log(max(value, 1.0)) / math.log(max(longest, 2.0))
    return room * value / longest if longest else 0.0


def _text(x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{_TEXT}"{weight}>{escape(words)}</text>'
