"""The sessions of the documents, followed word for word: their commands run, and print what is shown."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pelagos_core.conformance.modules import binary
from scripts import engines
from tests.support import page_session, pages
from tests.support.component_text import MEMORY

pytestmark = [pytest.mark.root, pytest.mark.container]

ROOT = Path(__file__).parent.parent.parent
HELLO = ROOT / "examples/hello.wat"


def wat(text):
    return lambda _: binary(text)


def hello(_):
    return binary(HELLO.read_text())


def guest(name):
    return lambda guests: (guests / name).read_bytes()


def words(text):
    return lambda _: text.encode()


GREETINGS = f"""\
(component
  (core module $code
{MEMORY}
    (data (i32.const 100) "hello, ")
    (func (export "greet") (param $name i32) (param $size i32) (result i32)
      (memory.copy (i32.const 107) (local.get $name) (local.get $size))
      (i32.store (i32.const 8) (i32.const 100))
      (i32.store (i32.const 12) (i32.add (local.get $size) (i32.const 7)))
      (i32.const 8)))
  (core instance $it (instantiate $code))
  (func (export "greet") (param "name" string) (result string)
    (canon lift (core func $it "greet") (memory (core memory $it "memory")) (realloc (core func $it "realloc")))))"""
LOOP = '(func (export "_start") (loop (br 0)))'
NUMBERS = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'


@dataclass(frozen=True)
class Setting:
    """What a page's session finds. files: by name, what makes their content. The rest: see page_session.run."""

    files: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    marks: tuple = ()


# `make` is to install nothing: the environment is that of the tests, and as new as all that it is made of.
_READY = "; ".join(
    (
        "[ -d .venv/bin ] || { mkdir -p .venv; ln -s $PROGRAMS .venv/bin; }",
        *(f"touch .venv/.{stamp}" for stamp in ("made", "core", "dev")),
    )
)
_ONE_TEST = "export TESTS='tests/test_docs.py -k three_minutes'"
CHECKOUT = Setting(options={"checkout": True, "before": _READY})
SLOW = (pytest.mark.slow,)
SETTINGS = {
    "CONTRIBUTING.md": Setting(options={"checkout": True, "before": f"{_READY}; {_ONE_TEST}"}),
    "README.md": CHECKOUT,
    "docs/index.md": CHECKOUT,
    "docs/tutorial/container.md": CHECKOUT,
    "docs/cache.md": Setting({"app.wasm": hello}),
    "docs/engines.md": Setting(
        {"x.wasm": hello, "app.wasm": hello, "tool.wasm": hello, "data/in.txt": words("in\n")}, marks=SLOW
    ),
    "docs/images.md": Setting({"app.wasm": hello}, {"after": "tar -tf app.tar | grep -q index.json"}),
    "docs/running.md": Setting(
        {
            **dict.fromkeys(("app.wasm", "server.wasm", "names.wasm"), hello),
            "data/in.txt": words("in\n"),
            "settings.env": words("A=1\n"),
        },
        {
            "endless": {"pelagos run --watch app.wasm"},
            "before": "mkdir -p /etc/bash_completion.d; gzip -k app.wasm",
            "after": ". /etc/bash_completion.d/pelagos && pelagos rm -f $(pelagos ps -aq)",
        },
        marks=SLOW,
    ),
    "docs/functions.md": Setting({"numbers.wasm": wat(NUMBERS), "texts.wasm": wat(GREETINGS)}),
    "docs/debugging.md": Setting(
        {"trap.wasm": guest("trap.wasm"), "app.wasm": hello, "config.toml": words(engines.config())},
        {"before": "export PELAGOS_CONFIG=$PWD/config.toml"},
        marks=(pytest.mark.guests, pytest.mark.engines),
    ),
    "docs/observability.md": Setting(
        {"app.wat": words(f"(module {LOOP})")},
        {
            "before": "pelagos run -d app.wat >/dev/null; pelagos run -d app.wat >/dev/null",
            "after": "pelagos rm -f $(pelagos ps -aq)",
        },
        marks=SLOW,
    ),
}


def followed():
    return sorted({block.page for block in pages.given_to(__file__)})


@pytest.mark.parametrize("page", [pytest.param(page, marks=SETTINGS[page].marks) for page in followed()])
def test_a_session_goes_as_the_page_shows_it(page, tmp_path, request):
    setting = SETTINGS[page]
    guests = request.getfixturevalue("guests") if pytest.mark.guests in setting.marks else None
    for name, content in setting.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content(guests))
    programs = tmp_path / "programs"
    programs.mkdir()
    give_program(programs / "pelagos", "pelagos_core")
    environment = {
        "PROGRAMS": str(programs),
        "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    page_session.run(pages.given_to(__file__, page), tmp_path, environment, **setting.options)


def give_program(path, module, python=sys.executable):
    """A program that runs a module of Python."""
    path.write_text(f'#!/bin/sh\nexec {python} -m {module} "$@"\n')
    path.chmod(0o755)


def test_every_setting_is_of_a_page():
    assert set(followed()) == set(SETTINGS)
