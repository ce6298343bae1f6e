"""What is compiled is linked so that a fault of memory is hard to use."""

from pathlib import Path

import pytest

import pelagos_native
from tests.support import elf_file
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
def test_what_is_not_is_told(tmp_path, flags, fault):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    hardened = ("-fPIE", "-pie", "-Wl,-z,now", "-Wl,-z,relro")
    program = compiled(tmp_path / "main", [tmp_path / "main.c"], *hardened, flags)
    assert any(fault in each for each in elf_file.read(program.read_bytes()).faults)
