"""The kit's part in pytest: which backend is tried, which claims it must make, the table at the end.

    addopts = "-p pelagos_core.conformance.plugin --pelagos-backend=NAME"

in a project's own pytest configuration adds the kit to its tests; `pelagos conformance` runs the kit alone.
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
"""The kit's files of tests."""

PUBLIC_SUITE = _HERE / "wasi_testsuite.py"
OPTION = "pelagos_backend"
_WASI_0_1 = "WASI 0.1: "
_COMMAND = (sys.executable, "-m", "pelagos_core")

for _path in (*SUITES, PUBLIC_SUITE, _HERE / "wasi" / "guest.py"):
    _module = ".".join(_path.with_suffix("").relative_to(_HERE.parent.parent).parts)
    if _module not in sys.modules:
        pytest.register_assert_rewrite(_module)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The backend's name, an option and an ini value, and the public suite's directory."""
    parser.addoption("--pelagos-backend", dest=OPTION, default="", help="the backend to try")
    parser.addini(OPTION, "the backend to try", default="")
    parser.addoption("--wasi-testsuite", default="", metavar="DIR", help="a checkout of the public WASI test suite")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and add the kit to what is collected.

    Not where single files or tests are named: a run of one of the project's own tests is of that one alone.
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
    """The backend that is tried. Raises pytest.UsageError if none is named."""
    name = _name(config)
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
    # A backend that describes nothing claims the least that is of use.
    return frozenset([*features, *limits]) or frozenset({"module", "wasi-0.1"})


def deviations(config: pytest.Config) -> frozenset[str]:
    """The areas of WASI 0.1 in which the engine is known to deviate."""
    found = described(backend_name(config))["deviations"]
    assert isinstance(found, list)
    return frozenset(found)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the backend does not claim, or says that its engine does otherwise."""
    feature, marker = item.get_closest_marker("feature"), item.get_closest_marker("claims")
    needed = set(marker.args) if marker is not None else set()
    if feature is not None and feature.args[0].startswith(_WASI_0_1):
        needed |= {"module", "wasi-0.1"}
        if feature.args[0].removeprefix(_WASI_0_1) in deviations(item.config):
            pytest.skip(f"{table.NOT_CLAIMED}: the engine is known to deviate")
    if missing := needed - claims(item.config):
        pytest.skip(f"{table.NOT_CLAIMED}: {', '.join(sorted(missing))}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `-k` find a test by the line of the table that it belongs to."""
    marker = item.get_closest_marker("feature")
    if marker is not None:
        item.extra_keyword_matches.add(marker.args[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say early if the backend is not there."""
    if any(item.get_closest_marker("feature") for item in items):
        unknown = (claims(config) - FEATURES.keys() - LIMITS.keys()) | (deviations(config) - WASI_0_1_AREAS.keys())
        if unknown:
            raise pytest.UsageError(f"the backend claims {', '.join(sorted(unknown))}, which means nothing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the feature's name on the report, for the table."""
    report = yield
    marker = item.get_closest_marker("feature")
    if marker is not None:
        vars(report)[table.FEATURE] = marker.args[0]
    return report


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> str:
    """The name of the backend that is tried."""
    return backend_name(pytestconfig)


@pytest.fixture
def run(tmp_path: Path, backend: str) -> Runner:
    """Runs a guest on the backend that is tried."""
    return Runner(tmp_path, backend)


@pytest.fixture(scope="session")
def areas(tmp_path_factory: pytest.TempPathFactory, backend: str) -> Generator[Areas, None, None]:
    """The guest that tests of WASI share, and their directories."""
    run = Runner(tmp_path_factory.mktemp("wasi"), backend)
    areas = Areas(run, provided_functions(run))
    yield areas
    areas.close()


@pytest.fixture
def area(areas: Areas) -> Area:
    """An empty directory, and a guest that has it open."""
    return areas.make()


@pytest.fixture
def guest(areas: Areas) -> Guest:
    """A guest that calls what a test asks for."""
    return areas.guest()


@pytest.fixture
def fresh(areas: Areas) -> Generator[Callable[..., Guest], None, None]:
    """Starts a guest that a test may spoil: with further flags and arguments."""
    started: list[Guest] = []

    def start(*args: str, flags: tuple[str, ...] = ()) -> Guest:
        started.append(areas.start(*args, flags=flags))
        return started[-1]

    yield start
    for each in started:
        each.close()
