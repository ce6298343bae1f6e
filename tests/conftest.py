"""Fixtures and hooks for all tests: runs coroutine tests, checks requirements, and finds remains of tests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NoReturn

import pytest

from pelagos_core.config.node_file import CACHE_VARIABLE
from pelagos_core.metrics import slots
from pelagos_core.shim import zygote_request
from scripts import engines
from tests.support import c_program, leftovers, provision, services
from tests.support.containerd import until
from tests.support.zygote import end_zygotes

CI = os.environ.get("CI") == "true"
_PLACE = pytest.StashKey[str]()  # this session's own directory
_MOST_ZYGOTES = 4
_ENDING_SECONDS = 5.0  # for processes that tests have started and signalled


# For each marker: a check of the machine's requirements, and how to meet them.
_NEEDS = {
    "root": (lambda: os.geteuid() == 0, "needs root"),
    "container": (lambda: _may_run_containers(), "needs root, or a host that lets users make user namespaces"),
    "containerd": (provision.has_containerd, "needs containerd and runc: `make test-setup` unpacks them"),
    "uml": (provision.has_uml, "needs User-Mode Linux: `make test-setup` unpacks it"),
    "systemd": (provision.has_systemd_root, "needs a Debian with systemd: `make test-setup` unpacks it"),
    "registry": (provision.has_registry, "needs docker's registry: `make test-setup` unpacks it"),
    "engines": (engines.present, "needs WasmEdge, Wasmer and Wasmtime's program: `make engines` gets them"),
    "services": (services.has, "needs services in Rust, Python and JavaScript: `make test-setup` builds them"),
    "crictl": (provision.has_crictl, "needs crictl: `make test-setup` builds it"),
    "wazero": (provision.has_wazero, "needs the engine wazero: `make test-setup` builds it"),
    "kubernetes": (provision.has_kubernetes, "needs a cluster's programs: `make test-kubernetes` builds them"),
    "compiler": (c_program.has_compiler, "needs gcc or clang: on Debian, apt-get install gcc libc6-dev"),
    "components": (provision.has_components, "needs programs for WASI 0.2: `make test-setup` builds them with Rust"),
    "guests": (provision.has_guests, "needs the test programs: `make test-setup` builds them"),
}


def _lacking(item: pytest.Item) -> str:
    """Why a test cannot run here; empty if it can."""
    lacks = (why for mark, (there, why) in _NEEDS.items() if item.get_closest_marker(mark) and not there())
    return next(lacks, "")


@functools.cache
def _may_run_containers() -> bool:
    """Whether `pelagos run` can work: as root, or in a user namespace."""
    return os.geteuid() == 0 or subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode == 0


# Markers of tests that `make check` does not run: they, or the build of their requirements, take long.
_LATER = ("slow", "containerd", "guests", "engines", "services", "kubernetes")
_PARTS = ("quick", "rest", "engines")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "only the tests of `make check`; those that need engines; or the others, but for a cluster's"
    parser.addoption("--part", choices=_PARTS, help=text)
    text = "only the files in which a test failed in the last run: what a module's tests leave is found at its end"
    parser.addoption("--failed-files", action="store_true", help=text)


def _part(item: pytest.Item) -> str:
    """The part of CI that runs the test; empty for none: a cluster's tests are run by `make test-kubernetes`."""
    marks = {mark for mark in _LATER if item.get_closest_marker(mark)}
    if "kubernetes" in marks:
        return ""
    if "engines" in marks:
        return "engines"
    return "rest" if marks else "quick"


def _file(test: str) -> str:
    """The file of a test with this node id."""
    return test.partition("::")[0]


def _keep(config: pytest.Config, items: list[pytest.Item], is_kept: Callable[[pytest.Item], bool]) -> None:
    """Deselect the other items."""
    config.hook.pytest_deselected(items=[item for item in items if not is_kept(item)])
    items[:] = filter(is_kept, items)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("part")
    if part:
        _keep(config, items, lambda item: _part(item) == part)
    if config.getoption("failed_files"):
        failed = {_file(test) for test in config.cache.get("cache/lastfailed", {})}
        _keep(config, items, lambda item: _file(item.nodeid) in failed)
    # Quick tests first, so that a mistake is found early.
    items.sort(key=lambda item: sum(item.get_closest_marker(mark) is not None for mark in ("slow", "containerd")))


def pytest_configure(config: pytest.Config) -> None:
    # A shell without job control starts what runs in its background with SIGINT ignored, and nohup(1) with
    # SIGHUP; execve(2) hands an ignored signal on to all that this starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # pytest keeps the files of its last runs where it always does. The rest is in a directory that is removed.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    place = config.stash[_PLACE] = leftovers.own_directory()
    # The tests' shims are forked by zygotes of this session's own.
    os.environ[zygote_request.VARIABLE] = f"{place}/z"
    os.environ[slots.VARIABLE] = f"{place}/z/metrics"


def pytest_unconfigure(config: pytest.Config) -> None:
    if place := config.stash.get(_PLACE, ""):
        end_zygotes(f"{place}/z")
        shutil.rmtree(place, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if why := _lacking(item):
        leave_out(why)


def leave_out(why: str) -> NoReturn:
    """Skip the test because a requirement is missing; in CI the test fails."""
    if CI:
        pytest.fail(f"{why} (CI leaves nothing out)", pytrace=False)
    pytest.skip(why)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which tests were skipped and why; with --durations, also which files take longest."""
    skipped = terminalreporter.stats.get("skipped", [])
    why = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if why:
        terminalreporter.section("left out")
    for reason, count in why.most_common():
        terminalreporter.write_line(f"{count:6} {'test' if count == 1 else 'tests'}: {reason}")
    if not terminalreporter.config.getoption("durations"):
        return
    seconds: dict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[_file(report.nodeid)] += report.duration
    terminalreporter.section("slowest files")
    for path, spent in sorted(seconds.items(), key=lambda each: -each[1])[:20]:
        terminalreporter.write_line(f"{spent:8.1f}s {path}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on a new event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def guests() -> Path:
    """The directory of the built test programs."""
    return provision.guests_directory()


@pytest.fixture(scope="session")
def components() -> Path:
    """The directory of the built programs for WASI 0.2."""
    return provision.components_directory()


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a separate cache, so that tests neither use nor change the node's compiled code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("code") / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the tests stays mounted or lies about; on CI's machine, which is theirs alone, nowhere at all."""
    places = (request.config.stash[_PLACE], str(tmp_path_factory.getbasetemp()))
    before = leftovers.shared() if CI else set()
    yield
    kept = (os.path.basename(os.environ[zygote_request.VARIABLE]), leftovers.LASTING)

    def found() -> set[str]:
        files = {entry.path for entry in os.scandir(places[0]) if entry.name not in kept}
        return files | leftovers.mounts(*places) | ((leftovers.shared() - before) if CI else set())

    # Files in use are removed a moment later; short-lived ones of other programs are gone by then.
    until(lambda: not found(), _ENDING_SECONDS, lambda: f"left by the tests: {sorted(found())}")


@pytest.fixture(scope="module", autouse=True)
def _no_process_goes_on(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End the zygotes of a module's tests, which would stay for ten minutes. Everything else ends by itself."""
    places = (request.config.stash[_PLACE], str(tmp_path_factory.getbasetemp()))
    before = leftovers.processes(*places)
    yield
    deadline = time.monotonic() + _ENDING_SECONDS
    while True:
        end_zygotes(os.environ[zygote_request.VARIABLE])
        left = {pid: words for pid, words in leftovers.processes(*places).items() if pid not in before}
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A zygote may still load when the others are ended: it is ended here.
    left = {pid: words for pid, words in left.items() if not words.startswith("pelagos-zygote")}
    assert not left, f"processes that go on: {left}"


@pytest.fixture(autouse=True)
def _few_zygotes_are_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the zygotes when there are many: each combination of engines and settings has one, with pages of its own."""
    yield
    directory = f"{request.config.stash[_PLACE]}/z"
    if os.path.isdir(directory) and len(os.listdir(directory)) > _MOST_ZYGOTES:
        end_zygotes(directory)
        for entry in os.scandir(directory):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                os.unlink(entry.path)


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    left = set(os.listdir("/proc/self/fd")) - before
    targets = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in left if os.path.lexists(f"/proc/self/fd/{fd}")}
    # pytest's own capture files come and go
    leaked = {fd: target for fd, target in targets.items() if "/tmp/tmp" not in target and "(deleted)" not in target}
    assert not leaked, f"descriptors left open: {leaked}"


assert sys.version_info >= (3, 10)
