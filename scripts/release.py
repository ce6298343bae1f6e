"""Make a release: build every distribution, check it, install it, and run a container from it.

    python -m scripts.release build             build all source archives and wheels into dist/
    python -m scripts.release check             build and try what the tree is now
    python -m scripts.release cut VERSION       give the version and the changelog their number and date, commit, tag

RELEASING.md is the list that a person follows. `build` and `check` leave `dist/` and change nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts import engines, release_files, release_number
from scripts.release_number import NotReleasable

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PLUGINS = sorted((ROOT / "plugins").glob("*_backend"))
DISTRIBUTIONS = [ROOT, ROOT / "native", *PLUGINS]
COMPILED = [ROOT / "native", *[each for each in PLUGINS if (each / "hatch_build.py").exists()]]
# The interpreters of pyproject's classifiers; a release needs all of them.
INTERPRETERS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
CHANGELOG = "CHANGELOG.md"
GREETING = "hello"
_ASSEMBLE = """
import pathlib, wasmtime
pathlib.Path("hello.wasm").write_bytes(wasmtime.wat2wasm(pathlib.Path("hello.wat").read_text()))
"""
_FORMS = {"wheels": "*.whl", "sources": "*.tar.gz"}
_IGNORED_BY_CONTENTS = "W004"  # a file whose name is no module's: compiled programs


@dataclass(frozen=True)
class Trial:
    """One installation of all distributions, in an environment of its own.

    python: path of the interpreter. version: such as `3.11`. form: a key of `_FORMS`.
    """

    python: str
    version: str
    form: str

    def __str__(self) -> str:
        return f"CPython {self.version} from {self.form}"


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build all source archives and wheels into dist/")
    checking = commands.add_parser("check", help="build, check and try every distribution")
    checking.add_argument(
        "--python",
        action="append",
        choices=INTERPRETERS,
        help="only this interpreter; may be repeated (default: all, and it is an error if one is missing)",
    )
    cutting = commands.add_parser("cut", help="number and date the changelog, commit, tag")
    cutting.add_argument("version", help="such as 0.1.0")
    arguments = parser.parse_args(words)
    try:
        match arguments.command:
            case "build":
                build()
            case "check":
                check(arguments.python or INTERPRETERS)
            case "cut":
                cut(arguments.version)
    except NotReleasable as error:
        print(f"not releasable: {error}", file=sys.stderr)
        return 1
    return 0


def check(versions: Sequence[str]) -> None:
    """Build everything again into `dist/`, check the files, and run containers from them on each interpreter.

    versions: of CPython, such as `3.11`. Raises NotReleasable.
    """
    began = time.monotonic()
    trials = [Trial(python, version, form) for version, python in _interpreters(versions).items() for form in _FORMS]
    build()
    check_files()
    check_bytes()
    _say(f"installing and running: {len(trials)} fresh environments")
    failed = []
    for trial in trials:
        try:
            with _timed(str(trial)) as results:
                results.extend(try_one(trial))
        except NotReleasable as error:
            failed.append(str(trial))
            print(textwrap.indent(str(error), "      "), flush=True)
    if failed:
        raise NotReleasable(f"of {len(trials)} trials {len(failed)} failed: {', '.join(failed)}")
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    _say(f"all of it works, after {minutes} min {seconds:02} s")
    _summary()


def build() -> None:
    """Make all source archives and wheels, those with compiled parts for each processor, in an empty `dist/`."""
    shutil.rmtree(DIST, ignore_errors=True)
    _say(f"building {len(DISTRIBUTIONS)} distributions of version {release_number.version()}")
    for directory in DISTRIBUTIONS:
        with _timed(_name(directory)):
            _build("-n", directory, DIST, PELAGOS_RELEASE="1")  # the wheel of what the archive of sources holds
    for directory in COMPILED:
        with _timed(f"{_name(directory)} for aarch64"):
            _build("-nw", directory, DIST, PELAGOS_MACHINE="aarch64")


def check_files() -> None:
    """Look at what was built by twine and check-wheel-contents, and at what neither looks for. Raises NotReleasable."""
    files = sorted(DIST.iterdir())
    _say(f"checking {len(files)} files")
    wheels = [str(file) for file in files if file.suffix == ".whl"]
    with _timed("twine"):
        _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    with _timed("check-wheel-contents"):
        _run(sys.executable, "-m", "check_wheel_contents", "--ignore", _IGNORED_BY_CONTENTS, *wheels)
    directories = {_name(directory).replace("-", "_"): directory for directory in DISTRIBUTIONS}
    with _timed("licence, types, metadata, nothing foreign"):
        version = release_number.version()
        found = [
            f"{file.name}: {fault}"
            for file in files
            for fault in release_files.faults(file, directories[file.name.partition("-")[0]], version)
        ]
        if found:
            raise NotReleasable("\n".join(found))


def check_bytes() -> None:
    """Build all for this processor again, wheels of the tree itself, and compare. Raises NotReleasable: one differs."""
    _say("building once more, to compare the bytes")
    with tempfile.TemporaryDirectory(prefix="pelagos-release-") as directory, _timed("the same"):
        for each in DISTRIBUTIONS:
            _build("-nsw", each, Path(directory), PELAGOS_RELEASE="1")
        differing = [file.name for file in Path(directory).iterdir() if file.read_bytes() != _bytes(DIST / file.name)]
        if differing:
            raise NotReleasable(f"a second build has other bytes: {', '.join(differing)}")


def try_one(trial: Trial) -> list[str]:
    """Install all distributions into a fresh environment, and run a module in a container by each engine at hand.

    All backends have to be found, and Wasmtime has to be at hand: pip brings it. Returns the backends that ran.
    Raises NotReleasable.
    """
    names = sorted(_name(directory) for directory in DISTRIBUTIONS)
    with tempfile.TemporaryDirectory(prefix="pelagos-release-") as directory:
        _run(trial.python, "-m", "venv", f"{directory}/venv")
        only = "--only-binary" if trial.form == "wheels" else "--no-binary"
        wanted = [f"{name}=={release_number.version()}" for name in names]
        # pip's cache may have a wheel of an archive that was here before, under the same name.
        pip = (f"{directory}/venv/bin/pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir")
        _run(*pip, "--find-links", str(DIST), f"{only}={','.join(names)}", *wanted)
        return _run_containers(Path(directory))


def _run_containers(directory: Path) -> list[str]:
    """Run a container by each backend that can be used; their names. directory: has the environment, as `venv`."""
    (directory / "config.toml").write_text(engines.config() if engines.present() else "")
    settings = {
        "PELAGOS_CONFIG": str(directory / "config.toml"),
        "PELAGOS_CACHE_DIR": str(directory / "cache"),
        "PELAGOS_METRICS": "off",
        "PELAGOS_ZYGOTE": "off",
    }
    pelagos = str(directory / "venv/bin/pelagos")
    shutil.copy(ROOT / "examples/hello.wat", directory)
    listed = json.loads(_run(pelagos, "backends", "--json", cwd=directory, **settings))
    usable = {each["name"]: each["usable"] for each in listed["backends"]}
    absent = {plugin.name.removesuffix("_backend") for plugin in PLUGINS} - set(usable)
    if absent:
        raise NotReleasable(f"`pelagos backends` does not list {', '.join(sorted(absent))}")
    # Not every engine takes text.
    _run(str(directory / "venv/bin/python"), "-c", _ASSEMBLE, cwd=directory)
    chosen = sorted(name for name in usable if usable[name] or name == "wasmtime")
    for words in (["hello.wat"], *(["--backend", name, "hello.wasm"] for name in chosen)):
        said = _run(pelagos, "run", *words, cwd=directory, **settings)
        if said.strip() != GREETING:
            raise NotReleasable(f"`pelagos run {' '.join(words)}` printed {said!r}")
    return chosen


def cut(number: str) -> None:
    """Make the commit of a release and its tag, and a second commit with the version that development goes on with.

    Raises NotReleasable; the tree is as it was then.
    """
    released = [tag.removeprefix("v") for tag in _run("git", "tag", "--list", "v[0-9]*").split()]
    release_number.checked(number, release_number.version(ROOT), released)
    if _run("git", "status", "--porcelain").strip():
        raise NotReleasable("there are changes that are not committed, or files that git does not know: `git status`")
    changelog = ROOT / CHANGELOG
    day = datetime.datetime.now(datetime.timezone.utc).date()
    text = release_number.dated(changelog.read_text(), number, day)
    before = _run("git", "rev-parse", "HEAD").strip()
    try:
        _commit({**release_number.followed(number, ROOT), changelog: text}, f"Release {number}")
        _run("git", "tag", "-a", "-m", f"pelagos {number}", f"v{number}")
        following = release_number.after(number)
        _commit(release_number.followed(following, ROOT), f"Go on as {following}")
    except NotReleasable:
        # Nothing was changed before, so no work is lost.
        _run("git", "reset", "-q", "--hard", before)
        if _run("git", "tag", "--list", f"v{number}").strip():
            _run("git", "tag", "-d", f"v{number}")
        raise
    _say(f"v{number} is tagged, and development goes on as {following}. Nothing is pushed")
    print(f"To take it back: git tag -d v{number} && git reset --hard {before[:12]}")
    print("Next: RELEASING.md, `make release-check` in a clone of the tag")


def _commit(texts: dict[Path, str], message: str) -> None:
    for path, text in texts.items():
        path.write_text(text)
    _run("git", "commit", "-qam", message)


def _summary() -> None:
    """Print what can be published, and what keeps it from being."""
    version, files = release_number.version(), sorted(DIST.iterdir())
    for file in files:
        print(f"   {file.stat().st_size / 1024:6.0f} KiB  {file.name}")
    tag = _run("git", "describe", "--tags", "--exact-match", "--match", f"v{version}", or_else="").strip()
    if not tag or _run("git", "status", "--porcelain").strip():
        print(f"Not to be published: this tree is not the tag v{version} (RELEASING.md).")
    if release_files.without_address(next(file for file in files if file.suffix == ".whl")):
        print("The metadata has no address of the project: [project.urls] of the pyproject.toml files (RELEASING.md).")
    if not engines.present():
        print("WasmEdge's and Wasmer's programs are not on this machine (`make engines`): they were not run.")


def _name(directory: Path) -> str:
    """The name of a distribution in the tree."""
    found = re.search(r'^name = "(.+)"', (directory / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def _build(option: str, directory: Path, target: Path, **environment: str) -> None:
    _run(sys.executable, "-m", "build", option, "-o", str(target), str(directory), **environment)


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _candidates(version: str) -> Iterator[str]:
    yield from filter(None, [shutil.which(f"python{version}")])
    yield from sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))


def _interpreters(versions: Sequence[str]) -> dict[str, str]:
    """The path of an interpreter for each version. Raises NotReleasable: one is missing."""
    # pyenv's own commands are scripts that may refuse, and Debian's python3 may have no venv.
    works = {
        version: next((path for path in _candidates(version) if _answers(path)), None)
        for version in dict.fromkeys(versions)
    }
    missing = [version for version, path in works.items() if not path]
    if missing:
        raise NotReleasable(
            f"CPython {', '.join(missing)} not found, as python3.N with venv on the PATH or in ~/.pyenv/versions: "
            f"install it, or try only others, as by `make release-check PYTHONS='{INTERPRETERS[0]} {INTERPRETERS[-1]}'`"
        )
    return {version: path for version, path in works.items() if path}


def _answers(python: str) -> bool:
    return subprocess.run([python, "-c", "import ensurepip"], check=False, capture_output=True).returncode == 0


def _run(*words: str, cwd: str | Path | None = None, or_else: str | None = None, **environment: str) -> str:
    """What a command prints on its standard output.

    or_else: what to return if it fails. Raises NotReleasable with all it printed if there is no such text.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = subprocess.run(
        words, cwd=cwd or ROOT, env={**kept, **environment}, check=False, capture_output=True, text=True
    )
    if not command.returncode:
        return command.stdout
    if or_else is not None:
        return or_else
    said = f"{command.stdout}{command.stderr}".strip()
    raise NotReleasable(f"{' '.join(words[:4])} ... failed with {command.returncode}:\n{said}")


@contextmanager
def _timed(text: str) -> Iterator[list[str]]:
    """Print what is done, and when it is done its time and the words that are in the list then."""
    print(f"   {text:42}", end="", flush=True)
    began, words = time.monotonic(), list[str]()
    try:
        yield words
    except BaseException:
        print("FAILED")
        raise
    print(f"{time.monotonic() - began:4.0f} s  {', '.join(words)}".rstrip())


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
