"""The kit's report: one line for each feature, and the result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator

import pytest

FEATURE = "pelagos_feature"
NOT_CLAIMED = "not claimed"
_FAILED, _PASSED = "FAIL", "pass"


class Table:
    """Collects the outcomes of tests, and prints the table after everything else that pytest prints."""

    def __init__(self, config: pytest.Config, title: Callable[[], str]) -> None:
        self._config = config
        self._title = title
        self._words: dict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test."""
        if (feature := getattr(report, FEATURE, "")) and (word := _word(report)):
            self._words[feature].add(word)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Print the table. A run that has tested no feature of the backend fails."""
        yield
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, _NOTHING):
            return
        rows = {feature: _summary(words) for feature, words in self._words.items()}
        if session.exitstatus == pytest.ExitCode.OK and not {_FAILED, _PASSED} & set(rows.values()):
            session.exitstatus = _NOTHING
        if reporter is not None:
            self._print(reporter, rows)

    def _print(self, reporter: pytest.TerminalReporter, rows: dict[str, str]) -> None:
        reporter.section(self._title())
        width = max(map(len, rows), default=0)
        for feature, word in rows.items():
            reporter.line(f"{feature:<{width}}  {word}")
        found = list(rows.values())
        counts = [(found.count(_FAILED), _FAILED), (found.count(_PASSED), _PASSED)]
        others = sorted({word for word in found if word not in (_FAILED, _PASSED)})
        counts += [(found.count(word), word) for word in others]
        told = ", ".join(f"{count} {word}" for count, word in counts if count)
        if not {_FAILED, _PASSED} & set(found):
            told = f"nothing was tested, so there is no result{f' ({told})' if told else ''}"
        reporter.line(f"{self._config.getoption('pelagos_backend') or self._config.getini('pelagos_backend')}: {told}")


_NOTHING = pytest.ExitCode.NO_TESTS_COLLECTED


def _word(report: pytest.TestReport) -> str:
    if report.failed:
        return _FAILED
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return NOT_CLAIMED if NOT_CLAIMED in reason else "not run"
    return _PASSED if report.when == "call" else ""


def _summary(words: set[str]) -> str:
    """The word for a line with several tests: the worst outcome; a test that ran before one that was skipped."""
    return next(word for word in (_FAILED, _PASSED, NOT_CLAIMED, "not run") if word in words)
