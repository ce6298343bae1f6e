"""The launcher's text, for plain and for awkward interpreters."""

import subprocess
import sys

import pytest

from pelagos_core.cli import launcher
from pelagos_core.errors import InvalidArgument


def test_a_launcher_names_its_interpreter_and_its_flags():
    lines = launcher.source().splitlines()
    assert lines[0] == f"#!{sys.executable} -IS"
    assert launcher.MARK in lines


@pytest.mark.parametrize("directory", ["with space", "long-" + "x" * 120])
def test_a_path_that_no_shebang_can_hold_goes_through_sh(tmp_path, monkeypatch, directory):
    interpreter = tmp_path / directory / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    path = tmp_path / "shim"
    path.write_text(launcher.source())
    path.chmod(0o755)
    done = subprocess.run([path, "-v"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Version:" in done.stdout


@pytest.mark.parametrize("interpreter", ["python", "/a'b/python", "/a\nb/python", "/$x/python"])
def test_a_path_that_cannot_be_quoted_is_refused(monkeypatch, interpreter):
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(InvalidArgument, match="cannot be put into a launcher"):
        launcher.source()
