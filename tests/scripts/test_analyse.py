"""gcc's analyzer on the sources in C: as they are compiled for an installation."""

import shutil

import pytest

from scripts import analyse

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@pytest.fixture(scope="module")
def words():
    return analyse.words(analyse.load_compiling())


def test_each_file_is_looked_at_with_the_flags_of_an_installation(words):
    names = {str(path.relative_to(analyse.ROOT)) for path in analyse.sources()}
    assert {"native/process/plan.c", "native/launcher/launcher.c", "native/common/sha256.c"} <= names
    assert {"-std=c11", "-Werror", "-fstack-protector-strong", "-fanalyzer"} <= set(words)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("char *a = malloc(9); if (a) free(a); free(a); return 0;", "double-free"),
        ("char a[4]; (void)n; read(0, a, 5); return a[0];", "Werror"),
        ("int unused; return n;", "unused-variable"),
        ("return n;", ""),
    ],
)
def test_a_fault_is_reported(words, tmp_path, body, fault):
    source = tmp_path / "faulty.c"
    source.write_text(f"#include <stdlib.h>\n#include <unistd.h>\nint f(int n);\nint f(int n) {{ {body} }}\n")
    said = analyse.faults(words, source)
    assert fault in said
    assert bool(said) == bool(fault)
