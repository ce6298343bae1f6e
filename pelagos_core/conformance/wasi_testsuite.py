"""Runs a checkout of the public WASI test suite through the real shim: `--wasi-testsuite DIR`

    git clone --branch prod/testsuite-base https://github.com/WebAssembly/wasi-testsuite

This branch contains compiled programs, in `tests/LANGUAGE/testsuite`, or in a subdirectory of it for each target. A
file `NAME.json` next to a program contains its input and the expected result:

    {"args": [], "env": {}, "root": "DIR" or "dirs": ["DIR"], "exit_code": 0, "stdout": "", "stderr": ""}

or the same as a list `operations`. `root` becomes `/`. `dirs` is an older form: each directory is mounted under its
name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pelagos_core.conformance.runner import Ended, Runner

_WASI_0_1 = "wasm32-wasip1"
_NEEDS = {_WASI_0_1: ("wasi-0.1",), "wasm32-wasip2": ("component", "wasi-0.2"), "wasm32-wasip3": ("wasi-0.3",)}
_OPERATIONS = frozenset({"run", "read", "wait"})
_DIRECTORIES = "io.pelagos.wasm.dirs"


@dataclass(frozen=True)
class Case:
    """One program of the suite, its input and the expected result.

    root: the directory that becomes `/`.
    dirs: directories that are mounted below its working directory.
    outputs: the expected stdout and stderr, if the file has them.
    beyond: a requirement of the file that this runner does not support.
    """

    module: Path
    target: str
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    root: str = ""
    dirs: list[str] = field(default_factory=list)
    exit_code: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    beyond: str = ""

    @property
    def name(self) -> str:
        """Its language and its name."""
        parts = self.module.parts
        language = parts[parts.index("testsuite") - 1] if "testsuite" in parts else self.module.parent.name
        return f"{language}/{self.module.stem}"

    @property
    def feature(self) -> str:
        """The line of the table. Programs for optional targets share one line."""
        return f"wasi-testsuite: {self.name if self.target == _WASI_0_1 else f'all for {self.target}'}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that a backend must claim to run it."""
        return _NEEDS.get(self.target, (self.target,))


def cases(directory: Path) -> list[Case]:
    """All programs of a checkout, or of a directory in it."""
    modules = sorted(directory.rglob("*.wasm"))
    of_the_suite = [module for module in modules if "testsuite" in module.relative_to(directory.parent).parts]
    return [_case(module) for module in of_the_suite or modules]


def _case(module: Path) -> Case:
    said = _json(module.with_suffix(".json"))
    operations = said.get("operations")
    if operations is None:
        outputs = {str(stream): said[stream] for stream in ("stdout", "stderr") if stream in said}
        given = {
            str(key): said[key] for key in ("args", "env", "root", "dirs", "exit_code") if said.get(key) is not None
        }
        return Case(module, _target(module), outputs=outputs, **given)
    started: dict[str, Any] = next((each for each in operations if each["type"] == "run"), {})
    ended: dict[str, Any] = next((each for each in operations if each["type"] == "wait"), {})
    outputs = {each.get("id", "stdout"): each.get("payload", "") for each in operations if each["type"] == "read"}
    unknown = sorted({each["type"] for each in operations} - _OPERATIONS | set(said.get("proposals", [])))
    given = {str(key): started[key] for key in ("args", "env", "root") if started.get(key) is not None}
    code = ended.get("exit_code", 0)
    return Case(module, _target(module), exit_code=code, outputs=outputs, beyond=", ".join(unknown), **given)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def _target(module: Path) -> str:
    """A program's target: from its directory's name, else from the manifest next to it, else WASI 0.1."""
    if module.parent.name in _NEEDS:
        return module.parent.name
    return str(_json(module.parent / "manifest.json").get("version", _WASI_0_1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Create one test for each program."""
    directory = metafunc.config.getoption("wasi_testsuite")
    metafunc.parametrize("case", list(_parameters(Path(directory).absolute())) if directory else [])


def _parameters(directory: Path) -> Iterator[object]:
    found = cases(directory)
    if not found:
        raise pytest.UsageError(
            f"--wasi-testsuite: no programs in {directory}: the branch prod/testsuite-base of the repository has them"
        )
    for case in found:
        marks = [pytest.mark.feature(case.feature), pytest.mark.claims(*case.needs)]
        if case.beyond:
            marks.append(pytest.mark.skip(f"not run: {case.beyond}"))
        yield pytest.param(case, id=f"{case.target}/{case.name}", marks=marks)


def test_a_program_of_the_suite_has_the_expected_result(run: Runner, case: Case) -> None:
    ended = _run(run, case)
    assert ended.code == case.exit_code
    said = {"stdout": ended.out.decode(errors="replace"), "stderr": ended.err}
    for stream, expected in case.outputs.items():
        assert said[stream] == expected


def _run(run: Runner, case: Case) -> Ended:
    rootfs = run.directory / "rootfs"
    # A copy, since a program that fails may leave files behind.
    if case.root:
        shutil.copytree(case.module.parent / case.root, rootfs, symlinks=True)
    else:
        rootfs.mkdir()
    for name in case.dirs:
        shutil.copytree(case.module.parent / name, rootfs / name, symlinks=True)
    program = f"/{case.module.name}"
    shutil.copy(case.module, rootfs / case.module.name)
    # Programs of the older layout get the name of their directory as an argument.
    given = {name: f"/{name}" for name in case.dirs}
    flags = [word for name, value in case.env.items() for word in ("--env", f"{name}={value}")]
    if not case.root:
        flags += ["--annotation", f"{_DIRECTORIES}={','.join(given.values()) or 'none'}"]
    args = [given.get(word, word) for word in case.args]
    # The input is the same as in the suite's own runner: a pipe that stays open and empty.
    reader, writer = os.pipe()
    try:
        return run.run_in(rootfs, program, *args, flags=("--interactive", *flags), stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
