"""Manual pages."""

import shutil
import subprocess

import pytest

from scripts import man


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {path.stem: path for path in man.write(tmp_path_factory.mktemp("man"))}


def test_every_command_has_a_page_with_its_options_and_examples(pages):
    assert {"pelagos", "pelagos-run", "pelagos-cache-warm", "pelagos-exec"} <= pages.keys()
    text = pages["pelagos-run"].read_text()
    assert ".B \\-\\-env\\-file FILE\n" in text
    # Examples are lines of their own.
    assert "\npelagos run hello.wasm\n" in text
    assert ".SH EXIT STATUS" in text
    assert ".BR pelagos\\-run (1)\n" in pages["pelagos"].read_text()


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_pages_are_typeset_without_a_warning_and_fit_a_terminal(pages):
    for path in pages.values():
        words = ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-ww", "-rLL=78n", path]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stderr == "", path
        for line in done.stdout.splitlines():
            assert len(line) <= 80 or line.strip().startswith("pelagos "), line
