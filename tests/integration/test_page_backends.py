"""The backends of the documents, written, installed and tried as the pages say."""

import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from pelagos_core.conformance.environment import environment_with
from pelagos_core.conformance.modules import binary
from pelagos_core.errors import FailedPrecondition
from pelagos_core.plugin.hookspecs import NativePart, hookimpl
from pelagos_core.plugin.program_backend import ProgramBackend
from tests.support import page_session, pages, provision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.root, pytest.mark.container, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
CONTRACT = "docs/writing-a-backend.md"
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


TINY_ENGINE = ROOT / "tests/support/tiny_engine.py"
# Of the kit: what a backend does by itself.
TRIED = "an_exit_code or unreachable or arguments_arrive or memory_cannot or compiled_once or compiled_again"


def block(text):
    """The one of the page that has this text."""
    (found,) = [each for each in blocks(CONTRACT) if text in each.text]
    return found


def tried(directory, source, name, words=TRIED, config=""):
    """The kit by the page's words, on a backend."""
    given = environment(directory, **{name: source})
    site = next((directory / "venv/lib").glob("python*/site-packages"))
    shutil.copy(TINY_ENGINE, site)
    (directory / "config.toml").write_text(config)
    given["PELAGOS_CONFIG"] = str(directory / "config.toml")
    replaced = {"NAME": f"{name} -k '{words}'", **OFFLINE}
    page_session.run([block("pelagos-core[conformance]")], directory, given, words=replaced)


def test_the_embedded_backend_runs_what_it_claims(tmp_path):
    tried(tmp_path, block("Tiny: core modules").text, "tiny", "an_exit_code or memory_cannot or exported")


def test_the_embedded_backend_with_what_compiles_ahead_of_time_keeps_its_code(tmp_path):
    source = block("Tiny: core modules").text.replace('"read-only"})', '"read-only", "ahead-of-time"})')
    compiling = r"    try:\n        module = tiny_engine.compile.*?from None\n"
    source, count = re.subn(compiling, lambda _: block("tiny_engine.map").text, source, flags=re.DOTALL)
    assert count == 1
    hooks = block("def pelagos_compile").text
    tried(tmp_path, f"from pelagos_core.plugin.hookspecs import UnusableCode\n{source}\n\n{hooks}", "tiny")


def test_a_native_part_is_of_the_engine_that_it_was_made_for(tmp_path):
    (tmp_path / "bin").mkdir()
    part = shutil.copy(
        next((ROOT / "plugins/wasmtime_backend/wasmtime_backend/bin").glob("*.so")), tmp_path / "bin/engine.so"
    )
    engine = SimpleNamespace(__version__="1.0", LIBRARY=str(part))
    names = {"tiny_engine": engine, "HERE": tmp_path, "MADE_FOR": "1.0"}
    names.update(hookimpl=hookimpl, NativePart=NativePart, FailedPrecondition=FailedPrecondition)
    exec(block("def pelagos_native").text, names)
    assert names["pelagos_native"]().library == str(part)
    engine.__version__ = "2.0"
    with pytest.raises(FailedPrecondition, match=r"it was made for Tiny 1\.0, this is 2\.0"):
        names["pelagos_native"]()


# The program of the tests has other names for the same options.
OPTIONS = {"--dir": "-rw", "--read-only-dir": "-ro", "--env": "-env"}
SMALL = f"""

class Here(Small):
    def arguments(self, entrypoint):
        words = super().arguments(entrypoint)
        words.remove("run")
        words.remove("--")
        return [{OPTIONS}.get(word, word) for word in words]


backend = Here()
for name in ("configure", "describe", "detect", "spawn", "signal"):
    globals()[f"pelagos_{{name}}"] = getattr(backend, f"pelagos_{{name}}")
"""


@pytest.mark.wazero
def test_the_backend_by_a_program_runs_what_it_claims(tmp_path):
    config = f'[backends.small]\nprogram = "{provision.wazero()}"\n'
    tried(tmp_path, block("class Small").text + SMALL, "small", config=config)


def test_a_program_compiles_by_the_words_of_the_page():
    body = textwrap.indent(block("def compilation").text, "    ")
    names = {"ProgramBackend": ProgramBackend}
    exec(f"class Small(ProgramBackend):\n{body}", names)
    small = names["Small"]()
    assert "ahead-of-time" in small.features
    entrypoint = SimpleNamespace(file_path="/app.wasm", code="", args=("/app.wasm", "a"))
    assert small.compilation(entrypoint, "/tmp/code.so") == ["compile", "--", "/app.wasm", "/tmp/code.so"]
    assert small.arguments(entrypoint) == ["run", "--interpret", "--", "/app.wasm", "a"]
    entrypoint.code = "/app.wasm"
    assert small.arguments(entrypoint) == ["run", "--", "/app.wasm", "a"]
