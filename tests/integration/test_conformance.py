"""The kit as the author of an engine uses it: in another project, and on engines that go wrong."""

import os
import subprocess
import sys

import pytest

from pelagos_core.conformance import modules
from pelagos_core.conformance.environment import environment_with
from tests.support import pages, wazero

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(300)]

# Wasmtime, under another name and with something wrong.
BORROWED = """
import os
from pelagos_core.plugin.hookspecs import Description, hookimpl
from wasmtime_backend import hooks
for name in dir(hooks):
    if name.startswith("pelagos_") and name not in ("pelagos_compile", "pelagos_compiler", "pelagos_code_key"):
        globals()[name] = getattr(hooks, name)
"""
WITHOUT_AHEAD_OF_TIME = """
@hookimpl
def pelagos_describe():
    return Description("Borrowed", "1", "embedded", frozenset({"module", "wasi-0.1"}), frozenset())
"""
# Its guests see a file that is not in the image, as those of an engine do that shows them its own.
LEAKY = f"""{BORROWED}{WITHOUT_AHEAD_OF_TIME}
@hookimpl
def pelagos_spawn(bundle, entrypoint):
    os.makedirs("/usr/bin", exist_ok=True)
    return hooks.pelagos_spawn(bundle=bundle, entrypoint=entrypoint)
"""
# It reports each guest as trapped, even if it was not.
TRAPPING = f"""{BORROWED}{WITHOUT_AHEAD_OF_TIME}
from pelagos_core.plugin.hookspecs import Trap
@hookimpl
def pelagos_spawn(bundle, entrypoint):
    def trap():
        raise Trap("it went wrong at 0x1234")
    return trap
"""


def conformance(name, *words, python=sys.executable, env=None):
    command = [python, "-m", "pelagos_core", "conformance", name, "--tb=short", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})


def rows(done):
    """The lines of the table, which is the last thing that is printed."""
    return done.stdout.partition("= backend ")[2].splitlines()[1:]


def test_a_run_that_tries_nothing_is_not_green_and_says_so():
    done = conformance("wasmtime", "-k", "no_such_thing")
    assert done.returncode == 5
    assert rows(done) == ["wasmtime: nothing was tested, so there is no result"]


def test_a_run_of_what_is_not_claimed_alone_is_not_green_either():
    done = conformance("wasmtime", "-k", "limit_of_fuel_is_refused")
    assert done.returncode == 5
    assert rows(done)[-1].startswith("wasmtime: nothing was tested")


def test_a_line_of_the_table_selects_its_tests_and_the_table_is_the_last_that_is_printed():
    done = conformance("wasmtime", "-k", "signals and spins")
    assert done.returncode == 0, done.stdout
    assert rows(done) == ["signals  pass", "wasmtime: 1 pass"]


def test_a_failure_shows_what_the_guest_has_said(tmp_path):
    python = environment_with(tmp_path / "venv", trapping=TRAPPING)
    done = conformance("trapping", "-k", "life and writes", python=python)
    assert done.returncode == 1
    assert "it went wrong at 0x1234" in done.stdout.partition("= FAILURES")[2]
    assert rows(done)[0].split() == ["life", "cycle", "FAIL"]
    assert rows(done)[-1] == "trapping: 1 FAIL"


def test_an_engine_whose_guest_sees_what_is_not_in_its_container_fails(tmp_path):
    python = environment_with(tmp_path / "venv", leaky=LEAKY)
    done = conformance("leaky", "-k", "ways_out", python=python)
    assert done.returncode == 1
    assert "no_directory_outside_is_opened" in done.stdout
    assert rows(done)[-1] == "leaky: 1 FAIL"


@pytest.mark.wazero
def test_an_engine_that_deviates_from_wasi_fails_in_those_areas_and_lets_no_guest_out(tmp_path):
    """wazero follows links as the kernel does, and fails programs of the public suite in these areas."""
    form = wazero.form()
    (tmp_path / "config.toml").write_text(form.config)
    words = ("-k", "ways_out or lists or symbolic or descriptor_replaces")
    done = conformance("wazero", *words, python=form.python, env={"PELAGOS_CONFIG": str(tmp_path / "config.toml")})
    assert done.returncode == 1
    assert {row.rpartition("  ")[0].strip(): row.rpartition("  ")[2] for row in rows(done)[:-1]} == {
        "files: no way out of the root": "pass",
        "WASI 0.1: descriptors": "FAIL",
        "WASI 0.1: lists of directories": "pass",
        "WASI 0.1: symbolic links": "FAIL",
        "WASI 0.1: hard links": "FAIL",
    }


def test_one_line_of_configuration_adds_the_kit_to_a_projects_own_tests(tmp_path):
    (block,) = pages.given_to(__file__)
    (tmp_path / "pyproject.toml").write_text(block.text.replace("NAME", "wasmtime"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_mine.py").write_text("def test_my_engine(): pass\n\ndef test_other(): pass\n")
    pytest_itself = [sys.executable, "-m", "pytest", "-v", "-k", "my_engine or stderr_is_separate"]
    for words in ([], ["tests"]):
        done = subprocess.run([*pytest_itself, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "test_my_engine PASSED" in done.stdout
        assert "test_stderr_is_separate_from_stdout PASSED" in done.stdout
        assert rows(done)[-1] == "wasmtime: 1 pass"
    alone = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "tests/test_mine.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "2 passed" in alone.stdout


SUITE = {
    "says": (modules.says("hello"), '{"stdout": "hello"}', "pass"),
    "says_other": (modules.says("hello"), '{"stdout": "other"}', "FAIL"),
    "leaves": (modules.leaves(3), '{"operations": [{"type": "run"}, {"type": "wait", "exit_code": 3}]}', "pass"),
    "reads": (modules.reads("note"), '{"root": "files.dir", "stdout": "a note"}', "pass"),
    "reads_old": (modules.reads("files.dir/note"), '{"dirs": ["files.dir"], "stdout": "a note"}', "pass"),
    "without": (modules.reads("note"), '{"exit_code": 102}', "pass"),
    "connects": (modules.leaves(0), '{"operations": [{"type": "run"}, {"type": "connect"}]}', "not run"),
}


def test_a_checkout_of_the_public_suite_is_run_program_by_program(tmp_path):
    directory = tmp_path / "checkout/tests/c/testsuite/wasm32-wasip1"
    (directory / "files.dir").mkdir(parents=True)
    (directory / "files.dir/note").write_text("a note")
    for name, (source, said, _) in SUITE.items():
        (directory / f"{name}.wasm").write_bytes(modules.binary(source))
        (directory / f"{name}.json").write_text(said)
    done = conformance("wasmtime", "-k", "wasi-testsuite", f"--wasi-testsuite={tmp_path / 'checkout'}")
    assert done.returncode == 1
    *found, verdict = rows(done)
    assert {row.split(maxsplit=2)[1]: row.split(maxsplit=2)[2] for row in found} == {
        f"c/{name}": word for name, (_, _, word) in SUITE.items()
    }
    assert verdict == "wasmtime: 1 FAIL, 5 pass, 1 not run"
    assert sorted(os.listdir(directory / "files.dir")) == ["note"]


def test_a_directory_without_programs_is_reported(tmp_path):
    done = conformance("wasmtime", f"--wasi-testsuite={tmp_path}")
    assert done.returncode not in (0, 1)
    assert "no programs in" in done.stdout + done.stderr
