"""Splits the time of one `ctr run --rm` into the shim's phases, `ctr` itself, and the rest."""

from __future__ import annotations

from benchmarks.report import Report
from benchmarks.scenarios.new_pods import PHASES

CTR, REST = "ctr itself", "containerd and the rest"
PARTS = (*PHASES, CTR, REST)


def of_ctr_run(report: Report, contender: str) -> dict[str, float]:
    """The milliseconds of each part, medians of separate runs; empty if one was not measured.

    The rest is the time of the whole command minus all other parts.
    """
    whole = report.value("ctr", "ctr run --rm", contender, "command p50")
    parts = {phase: report.value("new-pods", "", contender, f"{phase} p50") for phase in PHASES}
    parts[CTR] = report.value("ctr", "ctr version", contender, "command p50")
    known = {name: value for name, value in parts.items() if value is not None}
    if whole is None or len(known) < len(parts):
        return {}
    return {**known, REST: max(0.0, whole - sum(known.values()))}
