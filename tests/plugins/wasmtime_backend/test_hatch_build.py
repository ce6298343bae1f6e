"""The build hook of the backend: its library is in the wheel, and the sources are enough to make it."""

import os
import zipfile

import pytest

from tests.support import elf_file, wheels

LIBRARY = "wasmtime_backend/bin/engine.so"

pytestmark = pytest.mark.slow


def build(directory, *options, **environment):
    return wheels.build(directory, "plugins/wasmtime_backend", *options, **environment)


def test_an_archive_of_sources_is_enough_for_a_wheel(tmp_path):
    _, said, made = build(tmp_path)
    assert [path.name for path in made] == [
        f"pelagos_wasmtime-0.1.0-py3-none-linux_{os.uname().machine}.whl",
        "pelagos_wasmtime-0.1.0.tar.gz",
    ], said
    with zipfile.ZipFile(made[0]) as archive:
        names = archive.namelist()
    assert LIBRARY in names
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_a_compiler_that_is_not_there_is_told_plainly(tmp_path):
    code, said, made = build(tmp_path, "--wheel", CC="no-such-cc")
    assert (code, made) == (1, [])
    assert "pelagos-wasmtime: no C compiler: install gcc and libc6-dev" in said


@pytest.mark.guests  # which ziglang builds too
@pytest.mark.timeout(900)  # it compiles a libc, once
@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_a_release_is_for_every_linux_of_a_processor(tmp_path, machine, number):
    _, said, (wheel,) = build(tmp_path, "--wheel", PELAGOS_MACHINE=machine)
    assert wheel.name == f"pelagos_wasmtime-0.1.0-py3-none-manylinux_2_17_{machine}.whl", said
    with zipfile.ZipFile(wheel) as archive:
        elf_file.check_product(archive.read(LIBRARY), is_program=False, machine=number)
