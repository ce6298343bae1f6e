"""The shape of the tree: names, sizes, and which module may do what."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for top in ("pelagos_core", "plugins", "benchmarks")
    for path in (ROOT / top).rglob("*.py")
    if "api" not in path.parts and "build" not in path.parts
)
CORE = [path for path in SOURCES if ROOT / "pelagos_core" in path.parents]
WHOLES = {"integration", "fuzz", "kubernetes"}  # directories of tests of the whole
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if not WHOLES & set(path.parts))
TESTS_OF_ALL = sorted((ROOT / "tests").rglob("test_*.py"))
EMPTY_NAMES = {"utils", "util", "common", "helpers", "misc", "base", "types"}
# Tests of the tree itself, which mirror no module.
OF_THE_TREE = {"test_layout", "test_lean_imports", "test_generated", "test_docs", "test_pages"}


def relative(path):
    return str(path.relative_to(ROOT))


def using(pattern):
    return {relative(path) for path in CORE if re.search(pattern, path.read_text())}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_has_a_noun_and_fits_the_eye(path):
    assert path.stem not in EMPTY_NAMES
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_a_test_stands_where_its_module_does(path):
    if path.stem in OF_THE_TREE:
        return
    mirrored = path.relative_to(ROOT / "tests").with_name(f"{path.stem.removeprefix('test_')}.py")
    places = ROOT / "pelagos_core" / mirrored, ROOT / mirrored, (ROOT / mirrored).with_suffix(".c")
    assert any(place.exists() for place in places)


@pytest.mark.parametrize("path", sorted((ROOT / "pelagos_core/task").rglob("*.py")), ids=relative)
def test_a_module_of_the_task_room_has_quick_tests(path):
    test = ROOT / "tests" / path.relative_to(ROOT / "pelagos_core").with_name(f"test_{path.name}")
    assert path.name == "__init__.py" or path.stem == "systemd_manager" or test.exists()  # that needs a systemd


def test_the_core_names_no_engine():
    hint = "packages.adding('pelagos-wasmtime')"
    # The kit's assembler of text is a function of that package.
    assembling = {"pelagos_core/conformance/modules.py", "pelagos_core/cli/conformance.py"}
    for path in [path for path in CORE if relative(path) not in assembling]:
        assert not re.search("wasmtime|wasmedge|wasmer", path.read_text().replace(hint, "").lower()), relative(path)


def test_one_module_calls_the_plugins():
    assert using(r"manager\.hook\.|self\._hooks\.") == {"pelagos_core/backends/registry.py"}


def test_one_module_writes_a_status():
    assert using(r"\._status = ") == {"pelagos_core/task/state.py"}


def test_few_modules_know_ctypes():
    names = ("linux/syscalls", "linux/bpf_syscalls", "isolation/libseccomp", "launch/immortal")
    names += ("native/library", "native/process")
    callers = {f"pelagos_core/{name}.py" for name in names}
    assert using(r"(?m)^\s*(import|from) ctypes") == callers


def test_the_init_process_leaves_by_exit_of_the_system_only():
    assert not using(r"sys\.exit|raise SystemExit") & {
        relative(path) for path in CORE if {"launch", "isolation", "rootfs"} & set(path.parts)
    }


def test_a_test_that_another_names_by_its_path_is_there():
    named = {
        path
        for test in TESTS_OF_ALL
        for path in re.findall(r"\"(tests/[a-z_0-9]+/[a-z_0-9/]+\.py)[\":]", test.read_text())
    }
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]
