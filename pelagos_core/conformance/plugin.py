"""The kit's pytest plugin: selects the backend, skips tests of features that it does not claim, prints the table.

    addopts = "-p pelagos_core.conformance.plugin --pelagos-backend=NAME"

in a project's own pytest configuration adds the kit to its tests; `pelagos conformance` runs only the kit.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from pelagos_core.conformance import table
from pelagos_core.conformance.runner import Runner
from pelagos_core.conformance.wasi.area import Area, Areas
from pelagos_core.conformance.wasi.guest import Guest, provided_functions
from pelagos_core.plugin.claims import FEATURES, LIMITS, WASI_0_1_AREAS

_HERE = Path(__file__).parent
SUITES = (
    *(_HERE / name for name in ("suite.py", "ways_out.py", "task_calls.py", "tool_chains.py")),
    *(_HERE / "wasi" / f"{name}.py" for name in ("system", "descriptors", "files", "directories", "links")),
)
"""The kit's test files."""

PUBLIC_SUITE = _HERE / "wasi_testsuite.py"
OPTION = "pelagos_backend"
_WASI_0_1 = "WASI 0.1: "
_COMMAND = (sys.executable, "-m", "pelagos_core")

for _path in (*SUITES, PUBLIC_SUITE, _HERE / "wasi" / "guest.py"):
    _module = ".".join(_path.with_suffix("").relative_to(_HERE.parent.parent).parts)
    if _module not in sys.modules:
        pytest.register_assert_rewrite(_module)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the backend's name (also an ini value) and for the directory of the public suite."""
    parser.addoption("--pelagos-backend", dest=OPTION, default="", help="the backend to test")
    parser.addini(OPTION, "the backend to test", default="")
    parser.addoption("--wasi-testsuite", default="", metavar="DIR", help="a checkout of the public WASI test suite")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and add the kit's files to the collected ones.

    The kit is not added if single files or tests are named on the command line.
    """
    config.addinivalue_line("markers", "feature(name): the line of the table that a test belongs to")
    config.addinivalue_line("markers", "claims(*names): the features or limits that a test needs")
    if not _name(config):
        return
    suites = [str(path) for path in SUITES] + ([str(PUBLIC_SUITE)] if config.getoption("wasi_testsuite") else [])
    named = [word for word in config.args if not Path(word).is_dir() and word not in suites]
    if "pelagos_core.conformance.suite" in named or not named:
        config.args += [path for path in suites if path not in config.args]
    config.pluginmanager.register(table.Table(config, functools.partial(_title, config)), "pelagos-table")


def _name(config: pytest.Config) -> str:
    return str(config.getoption(OPTION) or config.getini(OPTION))


def backend_name(config: pytest.Config) -> str:
    """The name of the tested backend. Raises pytest.UsageError if none is given."""
    name = _name(config)
    if not name:
        raise pytest.UsageError("which backend? --pelagos-backend NAME, or pelagos_backend = NAME in the ini file")
    return name


@functools.cache
def described(name: str) -> dict[str, object]:
    """The description of an installed backend. Raises pytest.UsageError if it is not installed."""
    done = subprocess.run([*_COMMAND, "backends", "--json"], capture_output=True, check=False)
    listed = json.loads(done.stdout or b'{"backends": [], "failures": []}')
    for row in listed["backends"]:
        if row["name"] == name:
            return dict(row)
    why = "".join(f": {failure['reason']}" for failure in listed["failures"] if failure["name"] == name)
    raise pytest.UsageError(f"backend {name!r} is not installed, or cannot be loaded{why}")


def _title(config: pytest.Config) -> str:
    row = described(backend_name(config))
    engine = f"{row['engine']} {row['engine_version']} {row['form']}".strip()
    return f"backend {row['name']}: {engine or 'no description'}"


def claims(config: pytest.Config) -> frozenset[str]:
    """The features and limits that the backend claims."""
    row = described(backend_name(config))
    if row["problem"]:
        raise pytest.UsageError(f"backend {row['name']!r} cannot be used: {row['problem']}: {row['remedy']}")
    features, limits = row["features"], row["limits"]
    assert isinstance(features, list)
    assert isinstance(limits, list)
    # A backend without a description must support the smallest useful set of features.
    return frozenset([*features, *limits]) or frozenset({"module", "wasi-0.1"})


def deviations(config: pytest.Config) -> frozenset[str]:
    """The areas of WASI 0.1 in which the engine is known to deviate."""
    found = described(backend_name(config))["deviations"]
    assert isinstance(found, list)
    return frozenset(found)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of features that the backend does not claim, and of areas in which its engine deviates."""
    feature, marker = item.get_closest_marker("feature"), item.get_closest_marker("claims")
    needed = set(marker.args) if marker is not None else set()
    if feature is not None and feature.args[0].startswith(_WASI_0_1):
        needed |= {"module", "wasi-0.1"}
        if feature.args[0].removeprefix(_WASI_0_1) in deviations(item.config):
            pytest.skip(f"{table.NOT_CLAIMED}: the engine is known to deviate")
    if missing := needed - claims(item.config):
        pytest.skip(f"{table.NOT_CLAIMED}: {', '.join(sorted(missing))}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the table's line of a test to its keywords, for `-k`."""
    marker = item.get_closest_marker("feature")
    if marker is not None:
        item.extra_keyword_matches.add(marker.args[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fail before the first test if the backend is missing or claims unknown features."""
    if any(item.get_closest_marker("feature") for item in items):
        unknown = (claims(config) - FEATURES.keys() - LIMITS.keys()) | (deviations(config) - WASI_0_1_AREAS.keys())
        if unknown:
            raise pytest.UsageError(f"the backend claims unknown features: {', '.join(sorted(unknown))}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the feature's name to the report, for the table."""
    report = yield
    marker = item.get_closest_marker("feature")
    if marker is not None:
        vars(report)[table.FEATURE] = marker.args[0]
    return report


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> str:
    """The name of the tested backend."""
    return backend_name(pytestconfig)


@pytest.fixture
def run(tmp_path: Path, backend: str) -> Runner:
    """Runs guests on the tested backend."""
    return Runner(tmp_path, backend)


@pytest.fixture(scope="session")
def areas(tmp_path_factory: pytest.TempPathFactory, backend: str) -> Generator[Areas, None, None]:
    """The guest that the tests of WASI share, and its directories."""
    run = Runner(tmp_path_factory.mktemp("wasi"), backend)
    areas = Areas(run, provided_functions(run))
    yield areas
    areas.close()


@pytest.fixture
def area(areas: Areas) -> Area:
    """An empty directory, opened by the shared guest."""
    return areas.make()


@pytest.fixture
def guest(areas: Areas) -> Guest:
    """The shared guest, which calls functions of WASI for a test."""
    return areas.guest()


@pytest.fixture
def fresh(areas: Areas) -> Generator[Callable[..., Guest], None, None]:
    """Starts a separate guest, with further flags and arguments. The test may leave it in any state."""
    started: list[Guest] = []

    def start(*args: str, flags: tuple[str, ...] = ()) -> Guest:
        started.append(areas.start(*args, flags=flags))
        return started[-1]

    yield start
    for each in started:
        each.close()
