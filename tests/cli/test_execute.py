"""`pelagos exec`."""

import pytest

from tests.support.runs import PELAGOS, detached, native_words, pelagos
from tests.support.screen import at_terminal

pytestmark = [pytest.mark.container, pytest.mark.guests]


@pytest.fixture
def shell(tmp_path):
    script = "while :; do sleep 0.05; done"
    with detached("-e", "A=1", *native_words(tmp_path), "/bin/sh", "-c", script) as name:
        yield name


def test_its_streams_exit_code_and_variables_are_its_own(shell):
    script = "cat; echo $A $B >&2; exit 7"
    done = pelagos("exec", "-i", "-e", "B=2", shell, "/bin/sh", "-c", script, input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "1 2\n")


def test_it_is_in_the_working_directory_that_is_asked_for(shell):
    assert pelagos("exec", "-w", "/usr", shell, "/bin/sh", "-c", "pwd").stdout == "/usr\n"


def test_a_module_shares_files_with_the_first(guests):
    with detached("-v", f"{guests}:/g:ro", "--tmpfs", "/tmp", guests / "spin.wasm") as name:
        assert pelagos("exec", name, "/g/tool.wasm", "write", "/tmp/x", "y").returncode == 0
        assert pelagos("exec", name, "/g/tool.wasm", "read", "/tmp/x").stdout == "y"


def test_it_has_a_terminal_of_its_own(shell):
    words = [*PELAGOS, "exec", "-it", shell, "/bin/sh", "-c", "stty size; test -t 0 && echo yes"]
    code, screen = at_terminal(words, {}, (91, 33))
    assert code == 0
    assert "33 91" in screen
    assert "yes" in screen


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["none", "/bin/sh"], 125, "container 'none'"),
        (["{}", "/proc/none/such"], 127, "no such file"),
        (["-w", "usr", "{}", "/bin/sh"], 125, "'usr' is not absolute"),
    ],
)
def test_what_cannot_be_run_is_reported_with_dockers_codes(shell, words, code, text):
    done = pelagos("exec", *(word.replace("{}", shell) for word in words))
    assert done.returncode == code
    assert text in done.stderr
