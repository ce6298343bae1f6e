"""A package that brings its engine's program: what docs/shipping-a-program.md shows is built, unpacked and asked."""

import importlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.support import pages

WHEEL = "pelagos_small-0.1.0-py3-none-manylinux_2_28_x86_64.whl"


@pytest.fixture
def project(tmp_path):
    """The project of the page; its program is that of `true`."""
    code, hook, settings = (block.text for block in pages.given_to(__file__))
    package = tmp_path / "project/small_backend"
    (package / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("true"), package / "bin/small")
    (package / "__init__.py").write_text(code)
    (package.parent / "hatch_build.py").write_text(hook)
    (package.parent / "pyproject.toml").write_text(settings)
    return package.parent


def test_the_package_brings_the_program_and_a_node_may_choose_another(project, tmp_path, monkeypatch):
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", project]
    subprocess.run(words, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "dist" / WHEEL) as wheel:
        assert wheel.getinfo("small_backend/bin/small").external_attr >> 16 & 0o777 == 0o755
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "site"]
    # The tag is that of the page, whatever this machine is.
    subprocess.run(
        [*words, "--platform", "manylinux_2_28_x86_64", "--only-binary", ":all:", tmp_path / "dist" / WHEEL], check=True
    )

    monkeypatch.syspath_prepend(tmp_path / "site")
    backend = importlib.import_module("small_backend").backend
    backend.pelagos_configure({})
    assert backend.problem == ""
    assert backend.program.source == str(tmp_path / "site/small_backend/bin/small")
    backend.pelagos_configure({"program": sys.executable})
    assert backend.program.source != str(tmp_path / "site/small_backend/bin/small")
    monkeypatch.delitem(sys.modules, "small_backend")
