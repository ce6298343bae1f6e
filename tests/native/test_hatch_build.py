"""The build hook: which compiler, which wheel."""

import os
import subprocess
import zipfile

import pytest

import pelagos_native
from scripts.release_number import version
from tests.support import elf_file, wheels

pytestmark = pytest.mark.slow


def build(directory, *options, **environment):
    return wheels.build(directory, "native", *(options or ["--wheel"]), **environment)


def test_the_machines_compiler_makes_a_wheel_for_it(tmp_path):
    _, said, (wheel,) = build(tmp_path)
    assert wheel.name == f"pelagos_native-{version()}-py3-none-linux_{os.uname().machine}.whl", said


def test_a_wheel_is_made_of_the_archive_of_sources_too(tmp_path):
    code, said, made = wheels.build(tmp_path, "native")
    assert (code, [path.suffix for path in made]) == (0, [".whl", ".gz"]), said


def test_a_compiler_that_fails_ends_the_build_with_its_name(tmp_path):
    code, said, wheels = build(tmp_path, CC="false")
    assert (code, wheels) == (1, [])
    assert "pelagos-native: false could not compile it" in said


def test_a_compiler_that_is_not_there_is_reported_plainly(tmp_path):
    code, said, wheels = build(tmp_path, CC="no-such-cc")
    assert (code, wheels) == (1, [])
    assert "pelagos-native: no C compiler: install gcc and libc6-dev" in said


@pytest.mark.guests  # which ziglang builds too
@pytest.mark.timeout(900)  # it compiles a libc, once
@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_a_release_is_for_every_linux_of_a_processor(tmp_path, machine, number):
    _, said, (wheel,) = build(tmp_path, PELAGOS_MACHINE=machine)
    assert wheel.name == f"pelagos_native-{version()}-py3-none-manylinux_2_17_{machine}.whl", said
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".c", ".h"))]
        made = [name for name in archive.namelist() if "/bin/" in name]
        installed = {path.name for path in pelagos_native.LIBRARY.parent.iterdir()}
        assert {os.path.basename(name) for name in made} == installed
        for name in made:
            assert archive.getinfo(name).external_attr >> 16 & 0o111
            elf_file.check_product(archive.read(name), is_program=not name.endswith(".so"), machine=number)
        program = archive.read("pelagos_native/bin/launcher")
    assert not elf_file.read(program).needed  # of no C library
    if machine == os.uname().machine:
        path = tmp_path / "launcher"
        path.write_bytes(program)
        path.chmod(0o755)
        assert b"no settings" in subprocess.run([path], capture_output=True).stderr
