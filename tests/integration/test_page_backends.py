"""The backends of the documents, written, installed and tried as the pages say."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from pelagos_core.conformance.environment import environment_with
from pelagos_core.conformance.modules import binary
from tests.support import page_session, pages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.root, pytest.mark.container, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
README, TEMPLATE, TUTORIAL = "README.md", "examples/backend/README.md", "docs/tutorial/backend.md"


def blocks(page, *languages):
    return pages.given_to(__file__, page, languages=languages)


def environment(directory, **backends):
    """An environment with pelagos and these backends, whose programs stand before those of the tests; its variables."""
    python = environment_with(directory / "venv", **backends)
    programs = directory / "programs"
    programs.mkdir()
    for name, words in {"pelagos": "-m pelagos_core", "pip": "-m pip", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {words} "$@"\n')
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}


# There is no index: what a package is built with and needs is in this environment already. Of the kit a part is run.
OFFLINE = {
    "pip install -e": "pip install --no-build-isolation",
    "pip install": "pip install --no-build-isolation",
    "build --wheel": "build --wheel --no-isolation",
    "pelagos conformance echo": "pelagos conformance echo -k exit_code",
}


def test_the_first_backend_is_a_package_that_can_be_chosen(tmp_path):
    (source,) = blocks(TUTORIAL, "python")
    (project,) = blocks(TUTORIAL, "toml")
    (tmp_path / "echo_backend.py").write_text(source.text)
    (tmp_path / "pyproject.toml").write_text(project.text)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    sessions = blocks(TUTORIAL, "console", "sh")
    ends = {"pelagos conformance echo": 1}  # it runs nothing
    page_session.run(sessions, tmp_path, environment(tmp_path), ends=ends, words=OFFLINE)


def test_the_backend_of_the_readme_is_that_of_the_tutorial():
    assert blocks(README, "python")[0].text == blocks(TUTORIAL, "python")[0].text
    project = tomllib.loads(blocks(TUTORIAL, "toml")[0].text)["project"]
    (entry,) = blocks(README, "toml")
    assert tomllib.loads(entry.text)["project"].items() <= project.items()


def test_the_template_is_installed_tried_and_built(tmp_path):
    place = shutil.copytree(ROOT / "examples/backend", tmp_path / "mine")
    (place / "x.wasm").write_bytes(binary((ROOT / "examples/hello.wat").read_text()))
    ends = {
        command.text: 1 for block in blocks(TEMPLATE) for command in block.commands() if "conformance" in command.text
    }
    page_session.run(blocks(TEMPLATE), place, environment(tmp_path), ends=ends, words=OFFLINE)
    assert list((place / "dist").glob("*.whl"))
