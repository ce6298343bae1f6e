"""Finding an engine's program and what it needs to start."""

import os
import shutil
import subprocess
import sys

import pytest

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.plugin import program
from tests.conftest import leave_out
from tests.support.absent import ABSENT


def test_a_program_on_the_path_comes_with_its_loader_and_libraries(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = program.find("cat", {})
    targets = [file.target for file in found.files]
    assert found.path == "/usr/bin/cat"
    assert targets[0] == found.path
    assert any(os.path.basename(target).startswith("ld-") for target in targets)
    assert any(os.path.basename(target).startswith("libc.") for target in targets)
    assert all(os.path.isabs(file.source) and os.path.isfile(file.source) for file in found.files)
    assert "cat" in found.output("--version")


@pytest.mark.root
def test_what_is_listed_is_enough_to_run_it(tmp_path):
    found = program.find("cat", {"program": shutil.which("cat")})
    for file in found.files:
        target = tmp_path / file.target.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.source, target)
    (tmp_path / "note").write_text("hello")
    done = subprocess.run(["chroot", tmp_path, found.path, "/note"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "hello")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, NotFound, "program 'no-such-engine' is not on the PATH"),
        ({"program": ABSENT}, NotFound, f"program '{ABSENT}' does not exist"),
        ({"program": "bin/x"}, InvalidArgument, "program = 'bin/x': not an absolute path"),
        ({"root": 7}, InvalidArgument, "root = 7: not an absolute path"),
        ({"root": ABSENT}, NotFound, f"'{ABSENT}/usr/bin/no-such-engine'"),
    ],
)
def test_what_is_not_there_is_named(settings, error, message):
    with pytest.raises(error, match=message):
        program.find("no-such-engine", settings)


def test_a_script_is_no_program(tmp_path):
    (tmp_path / "x").write_text(f"#!{sys.executable}\n" + "#" * 100)
    (tmp_path / "x").chmod(0o755)
    with pytest.raises(FailedPrecondition, match="not an ELF program"):
        program.find("x", {"program": str(tmp_path / "x")})


@pytest.mark.parametrize(("inside", "is_given"), [(b"libnss_%s.so%s", False), (b"musl", True)])
def test_a_static_program_that_would_load_libraries_of_the_image_gets_no_network(tmp_path, inside, is_given):
    static = b"\x7fELF\2\1\1" + bytes(121) + inside
    (tmp_path / "x").write_bytes(static)
    (tmp_path / "x").chmod(0o755)
    found = program.find("x", {"program": str(tmp_path / "x")})
    if is_given:
        assert found.environment == {}
        return
    with pytest.raises(FailedPrecondition, match="has glibc in itself") as raised:
        _ = found.environment
    assert raised.value.reason == reasons.NETWORK


def test_glibc_itself_names_what_it_loads(tmp_path):
    """As a linker has put it into a program, without its symbols."""
    (tmp_path / "x.c").write_text("#include <netdb.h>\nint main() { return getaddrinfo(0, 0, 0, 0); }")
    words = ["cc", "-static", "-s", "-w", "-o", tmp_path / "x", tmp_path / "x.c"]
    if not shutil.which("cc") or subprocess.run(words, capture_output=True).returncode:
        leave_out("needs a C compiler and a static glibc")
    assert program.find("x", {"program": str(tmp_path / "x")}).loads_name_sources
