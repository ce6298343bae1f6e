"""The launcher's text, for plain and for awkward interpreters."""

import subprocess
import sys

import pytest

from pelagos_core import __version__
from pelagos_core.cli import launcher
from pelagos_core.errors import InvalidArgument


def test_a_launcher_names_its_interpreter_and_its_flags(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/pelagos/bin/python")
    lines = launcher.source().splitlines()
    assert lines[0] == "#!/opt/pelagos/bin/python -IS"
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


def test_without_the_compiled_one_it_is_a_script(monkeypatch):
    monkeypatch.setattr(launcher, "compiled", lambda: None)
    assert launcher.program() == launcher.source().encode()
    assert launcher.kind(launcher.program()) == "in Python"


def test_the_compiled_one_has_its_settings_in_place_of_the_tag(monkeypatch, tmp_path):
    slot = launcher._TAG.ljust(launcher._SETTINGS_SIZE, b"\0")
    (tmp_path / "launcher").write_bytes(b"\x7fELF-before-" + slot + b"-after")
    monkeypatch.setattr(launcher, "compiled", lambda: tmp_path / "launcher")
    made = launcher.program()
    assert launcher.kind(made) == "compiled"
    settings = made.removeprefix(b"\x7fELF-before-").removesuffix(b"-after")
    assert len(settings) == len(slot)
    texts = settings.rstrip(b"\0").decode().split("\0")
    assert texts[:3] == [launcher.MARK, __version__, sys.executable]
    assert texts[4].startswith("import sys; del sys.argv[0]\n")


@pytest.mark.parametrize("content", [b"", b"@pelagos-launcher-settings@"])
def test_a_program_without_a_place_for_settings_is_refused(monkeypatch, tmp_path, content):
    (tmp_path / "launcher").write_bytes(content)
    monkeypatch.setattr(launcher, "compiled", lambda: tmp_path / "launcher")
    with pytest.raises(InvalidArgument, match="does not fit into a launcher"):
        launcher.program()


def test_an_interpreter_with_too_long_a_path_is_refused(monkeypatch, tmp_path):
    (tmp_path / "launcher").write_bytes(launcher._TAG.ljust(launcher._SETTINGS_SIZE, b"\0"))
    monkeypatch.setattr(launcher, "compiled", lambda: tmp_path / "launcher")
    monkeypatch.setattr(sys, "executable", "/x" * 2048)
    with pytest.raises(InvalidArgument, match="does not fit into a launcher"):
        launcher.program()
