"""The kit's part in pytest: which backend is tried, who must claim what, the table at the end.

Loaded by `pelagos conformance`, or by `-p pelagos_core.conformance.plugin` in a project's own
pytest configuration, with `pelagos_backend = NAME` there.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Generator

import pytest

from pelagos_core.hookspecs import FEATURES, LIMITS

pytest.register_assert_rewrite("pelagos_core.conformance.suite")

OPTION = "pelagos_backend"
_COMMAND = (sys.executable, "-m", "pelagos_core")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The backend's name: an option and an ini value."""
    parser.addoption("--pelagos-backend", dest=OPTION, default="", help="the backend to try")
    parser.addini(OPTION, "the backend to try", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "feature(name): the line of the table that a test belongs to")
    config.addinivalue_line("markers", "claims(*names): the features or limits that a test needs")


def backend_name(config: pytest.Config) -> str:
    """The backend that is tried. Raises pytest.UsageError if none is named."""
    name = str(config.getoption(OPTION) or config.getini(OPTION))
    if not name:
        raise pytest.UsageError("which backend? --pelagos-backend NAME, or pelagos_backend = NAME in the ini file")
    return name


@functools.cache
def described(name: str) -> dict[str, object]:
    """What the installed backend says of itself. Raises pytest.UsageError if it is not there."""
    done = subprocess.run([*_COMMAND, "backends", "--json"], capture_output=True, check=False)
    listed = json.loads(done.stdout or b'{"backends": [], "failures": []}')
    for row in listed["backends"]:
        if row["name"] == name:
            return dict(row)
    why = "".join(f": {failure['reason']}" for failure in listed["failures"] if failure["name"] == name)
    raise pytest.UsageError(f"backend {name!r} is not installed, or cannot be loaded{why}")


def claims(config: pytest.Config) -> frozenset[str]:
    """The features and limits that the backend claims."""
    row = described(backend_name(config))
    if row["problem"]:
        raise pytest.UsageError(f"backend {row['name']!r} cannot be used: {row['problem']}: {row['remedy']}")
    features, limits = row["features"], row["limits"]
    assert isinstance(features, list)
    assert isinstance(limits, list)
    # A backend that describes nothing claims the least that is of use.
    return frozenset([*features, *limits]) or frozenset({"module", "wasi-0.1"})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the backend does not claim."""
    marker = item.get_closest_marker("claims")
    if marker is not None and (missing := set(marker.args) - claims(item.config)):
        pytest.skip(f"not claimed: {', '.join(sorted(missing))}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say early if the backend is not there."""
    if any(item.get_closest_marker("feature") for item in items):
        unknown = claims(config) - FEATURES.keys() - LIMITS.keys()
        if unknown:
            raise pytest.UsageError(f"the backend claims {', '.join(sorted(unknown))}, which means nothing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the feature's name on the report, for the table."""
    report = yield
    marker = item.get_closest_marker("feature")
    if marker is not None:
        vars(report)["pelagos_feature"] = marker.args[0]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of features."""
    outcomes: dict[str, set[str]] = defaultdict(set)
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if hasattr(report, "pelagos_feature") and (report.when == "call" or outcome != "passed"):
                outcomes[report.pelagos_feature].add(outcome)
    if not outcomes:
        return
    row = described(backend_name(config))
    engine = f"{row['engine']} {row['engine_version']} {row['form']}".strip()
    terminalreporter.section(f"backend {row['name']}: {engine or 'no description'}")
    width = max(map(len, outcomes))
    for feature, found in outcomes.items():
        terminalreporter.line(f"{feature:<{width}}  {_word(found)}")


def _word(outcomes: set[str]) -> str:
    if outcomes & {"failed", "error"}:
        return "FAIL"
    return "pass" if "passed" in outcomes else "not claimed"


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> str:
    """The name of the backend that is tried."""
    return backend_name(pytestconfig)
