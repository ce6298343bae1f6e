"""What is compiled is linked so that a fault of memory is hard to use, and in the wheels of backends too."""

import os
import zipfile
from pathlib import Path

import pytest

import pelagos_native
from scripts.release_number import version
from tests.support import elf_file, wheels
from tests.support.c_program import compiled

ROOT = Path(__file__).parents[2]
INSTALLED = [*pelagos_native.LIBRARY.parent.iterdir(), *ROOT.glob("plugins/*/*/bin/*")]


@pytest.mark.parametrize("path", INSTALLED, ids=lambda path: path.name)
def test_what_is_installed_is_hardened(path):
    elf_file.check_product(path.read_bytes(), is_program=path.suffix != ".so")


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("-no-pie", "another place in memory"),
        ("-Wl,-z,lazy", "looked up late"),
        ("-Wl,-z,norelro", "stays writable"),
        ("-Wl,-z,execstack", "stack is executable"),
        ("-Wl,-rpath,/tmp", "directory of its own"),
    ],
)
def test_what_is_not_is_reported(tmp_path, flags, fault):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    hardened = ("-fPIE", "-pie", "-Wl,-z,now", "-Wl,-z,relro")
    program = compiled(tmp_path / "main", [tmp_path / "main.c"], *hardened, flags)
    assert any(fault in each for each in elf_file.read(program.read_bytes()).faults)


def build(name, directory, *options, **environment):
    return wheels.build(directory, f"plugins/{name}_backend", *options, **environment)


def library(name, wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert not [each for each in archive.namelist() if each.endswith((".c", ".h"))]
        return archive.read(f"{name}_backend/bin/engine.so")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wasmtime", "wasmedge"])
def test_an_archive_of_a_backends_sources_is_enough_for_its_wheel(tmp_path, name):
    _, said, made = build(name, tmp_path)
    assert [path.name for path in made] == [
        f"pelagos_{name}-{version()}-py3-none-linux_{os.uname().machine}.whl",
        f"pelagos_{name}-{version()}.tar.gz",
    ], said
    elf_file.check_product(library(name, made[0]), is_program=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wasmtime", "wasmedge"])
def test_without_a_compiler_there_is_no_wheel_of_a_backend(tmp_path, name):
    code, said, made = build(name, tmp_path, "--wheel", CC="no-such-cc")
    assert (code, made) == (1, [])
    assert f"pelagos-{name}: no C compiler: install gcc and libc6-dev" in said


@pytest.mark.slow
@pytest.mark.guests  # which ziglang builds too
@pytest.mark.timeout(900)  # it compiles a libc, once
@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
@pytest.mark.parametrize("name", ["wasmtime", "wasmedge"])
def test_a_release_of_a_backend_is_for_every_linux_of_a_processor(tmp_path, name, machine, number):
    _, said, (wheel,) = build(name, tmp_path, "--wheel", PELAGOS_MACHINE=machine)
    assert wheel.name == f"pelagos_{name}-{version()}-py3-none-manylinux_2_17_{machine}.whl", said
    elf_file.check_product(library(name, wheel), is_program=False, machine=number)
