"""The library that an engine's program loads first: what it asks of the C library, by its version."""

import subprocess

import pytest

import pelagos_native
from tests.support import c_program

pytestmark = pytest.mark.compiler

# A program whose own functions take the place of those of its C library (ld.so(8): symbols of the program come first).
_PROGRAM = """
#include <stdio.h>
#include <string.h>
const char *gnu_get_libc_version(void) { return "VERSION"; }
static const char *asked = "nothing";
int __nss_configure_lookup(const char *database, const char *line) {
    static char text[64];
    snprintf(text, sizeof text, "%s: %s", database, line);
    asked = text;
    return RESULT;
}
int main(void) { puts(asked); return 0; }
"""


@pytest.fixture
def program(tmp_path):
    def make(version, result=0):
        (tmp_path / "program.c").write_text(_PROGRAM.replace("VERSION", version).replace("RESULT", str(result)))
        return c_program.compiled(tmp_path / "program", [tmp_path / "program.c"], "-rdynamic")

    return make


def run(program, preload=str(pelagos_native.NAMES)):
    return subprocess.run([program], env={"LD_PRELOAD": preload}, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["2.34", "2.36", "2.100", "3.0", "2.41.9000"])
def test_names_are_looked_up_in_files_and_by_dns(program, version):
    done = run(program(version))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hosts: files dns\n", "")


@pytest.mark.parametrize(("version", "result"), [("2.33", 0), ("2.31", 0), ("1.99", 0), ("2.36", -1)])
def test_a_program_that_would_load_libraries_of_the_image_does_not_run(program, version, result):
    done = run(program(version, result))
    assert (done.returncode, done.stdout) == (126, "")
    assert done.stderr.startswith("pelagos: this engine's C library, ")


def test_without_it_nothing_is_asked(program):
    assert run(program("2.36"), "").stdout == "nothing\n"


def test_it_needs_no_library_of_its_own():
    listed = subprocess.run(["readelf", "-d", pelagos_native.NAMES], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" not in listed
