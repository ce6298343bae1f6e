"""Make a release: build every distribution, check it, install it, and run a container from it.

    python -m scripts.release build             build all source archives and wheels into dist/
    python -m scripts.release check             build and try what the tree is now
    python -m scripts.release cut VERSION       give the changelog's "Unreleased" its number and date, commit, tag

RELEASING.md is the list that a person follows. `build` and `check` leave `dist/` and change nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PLUGINS = sorted((ROOT / "plugins").glob("*_backend"))
DISTRIBUTIONS = [ROOT, ROOT / "native", *PLUGINS]
COMPILED = [ROOT / "native", *[each for each in PLUGINS if (each / "hatch_build.py").exists()]]
# The interpreters of pyproject's classifiers; a release needs all of them.
INTERPRETERS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
VERSION_FILE = ROOT / "pelagos_core/__init__.py"
INSTALLER = ROOT / "deploy/installer.yaml"
CHANGELOG = ROOT / "CHANGELOG.md"
GREETING = "hello"
# A package's documentation, tests and type stubs are read by no program; what is native has no modules of Python.
_IGNORED_BY_CONTENTS = "W004"  # a file whose name is no module's: compiled programs


class NotReleasable(Exception):
    """The tree, or what was built from it, cannot be published as it is. The text says what to do."""


@dataclass(frozen=True)
class Trial:
    """One installation of the distributions, in an environment of its own.

    python: path of the interpreter. version: such as `3.11`. form: `wheel` or `sdist`.
    """

    python: str
    version: str
    form: str

    def __str__(self) -> str:
        return f"CPython {self.version} from {self.form}s"


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
    """Build everything anew into `dist/`, check the files, and run a container from each of them.

    versions: of CPython, such as `3.11`. Raises NotReleasable.
    """
    pythons = {version: _interpreter(version) for version in versions}
    build()
    _say("checking the files")
    check_files()
    for version, python in pythons.items():
        for form in ("wheel", "sdist"):
            trial = Trial(python, version, form)
            _say(f"trying {trial}")
            try_one(trial)
    _say(f"{len(list(DIST.iterdir()))} files in {DIST.relative_to(ROOT)} can be published")


def build() -> None:
    """Make all source archives and wheels, those with compiled parts for each processor, in an empty `dist/`."""
    _say("building")
    shutil.rmtree(DIST, ignore_errors=True)
    for each in DISTRIBUTIONS:
        _run(sys.executable, "-m", "build", "-n", "-o", str(DIST), str(each), PELAGOS_RELEASE="1")
    for each in COMPILED:
        _run(sys.executable, "-m", "build", "-nw", "-o", str(DIST), str(each), PELAGOS_MACHINE="aarch64")


def check_files() -> None:
    """Look at what was built by twine and check-wheel-contents, and at what neither looks for."""
    files = sorted(map(str, DIST.iterdir()))
    wheels = [file for file in files if file.endswith(".whl")]
    _run(sys.executable, "-m", "twine", "check", "--strict", *files)
    _run(sys.executable, "-m", "check_wheel_contents", "--ignore", _IGNORED_BY_CONTENTS, *wheels)
    expected = f"-{version()}"
    wrong = [name for name in map(os.path.basename, files) if expected not in name]
    if wrong:
        raise NotReleasable(f"files of another version than {version()}: {', '.join(wrong)}")


def try_one(trial: Trial) -> None:
    """Install pelagos and Wasmtime into a fresh environment and run a module in a container from it.

    All other backends are installed too, and have to be found. Raises NotReleasable.
    """
    suffix = {"wheel": "*.whl", "sdist": "*.tar.gz"}[trial.form]
    names = [name.replace("_", "-") for name in sorted({_distribution(file) for file in DIST.glob(suffix)})]
    with tempfile.TemporaryDirectory(prefix="pelagos-release-") as directory:
        _run(trial.python, "-m", "venv", f"{directory}/venv")
        only = [f"--only-binary={','.join(names)}"] if trial.form == "wheel" else [f"--no-binary={','.join(names)}"]
        wanted = [f"{name}=={version()}" for name in names]
        pip = (f"{directory}/venv/bin/pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir")
        _run(*pip, "--find-links", str(DIST), *only, *wanted)
        shutil.copy(ROOT / "examples/hello.wat", directory)
        said = _run(f"{directory}/venv/bin/pelagos", "run", "hello.wat", cwd=directory, PELAGOS_ZYGOTE="off")
        if said.strip() != GREETING:
            raise NotReleasable(f"{trial}: `pelagos run hello.wat` printed {said!r}")
        listed = _run(f"{directory}/venv/bin/pelagos", "backends", "--json", cwd=directory)
        absent = [plugin.name for plugin in PLUGINS if f'"{plugin.name.removesuffix("_backend")}"' not in listed]
        if absent:
            raise NotReleasable(f"{trial}: `pelagos backends` does not list {', '.join(absent)}")


def cut(number: str) -> None:
    """Give what is unreleased the number and today's date, commit that, and tag it. Raises NotReleasable."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", number):
        raise NotReleasable(f"{number!r} is no version: write 0.1.0 or 0.2.0rc1")
    if _run("git", "status", "--porcelain").strip():
        raise NotReleasable("there are changes that are not committed")
    if _run("git", "tag", "--list", f"v{number}").strip():
        raise NotReleasable(f"the tag v{number} exists already")
    VERSION_FILE.write_text(numbered(VERSION_FILE.read_text(), number))
    CHANGELOG.write_text(dated(CHANGELOG.read_text(), number, datetime.datetime.now(datetime.timezone.utc).date()))
    INSTALLER.write_text(tagged(INSTALLER.read_text(), number))
    _run("git", "commit", "-qam", f"Release {number}")
    _run("git", "tag", "-a", "-m", f"pelagos {number}", f"v{number}")
    _say(f"committed and tagged v{number}: `git push --follow-tags`, then publish dist/ (RELEASING.md)")


def version() -> str:
    """The version of all distributions, as the tree has it."""
    found = re.search(r'^__version__ = "(.*)"$', VERSION_FILE.read_text(), re.MULTILINE)
    if not found:
        raise NotReleasable(f"{VERSION_FILE.relative_to(ROOT)} has no __version__")
    return found[1]


def numbered(source: str, number: str) -> str:
    """The text of `pelagos_core/__init__.py` with another version in it."""
    return re.sub(r'^__version__ = ".*"$', f'__version__ = "{number}"', source, count=1, flags=re.MULTILINE)


def tagged(manifest: str, number: str) -> str:
    """The installer's manifest with the tag of another version at its image."""
    return re.sub(r"(?<=/pelagos-installer:)\S+", number, manifest)


def dated(changelog: str, number: str, day: datetime.date) -> str:
    """The changelog with its section "Unreleased" under a number and a day, and an empty one above it.

    Raises NotReleasable: there is no such section, it is empty, or the number has a section already.
    """
    if re.search(rf"^## {re.escape(number)}\b", changelog, re.MULTILINE):
        raise NotReleasable(f"CHANGELOG.md has a section {number} already")
    head, found, rest = changelog.partition("## Unreleased\n")
    section = rest.partition("\n## ")[0]
    if not found or not section.strip():
        raise NotReleasable('CHANGELOG.md has nothing under "## Unreleased"')
    return f"{head}## Unreleased\n\n## {number} - {day.isoformat()}\n{rest}"


def _candidates(version: str) -> Iterator[str]:
    yield from filter(None, [shutil.which(f"python{version}")])
    yield from sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))


def _interpreter(version: str) -> str:
    for candidate in _candidates(version):
        # pyenv's own commands are scripts that may refuse.
        if subprocess.run([candidate, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
            return candidate
    raise NotReleasable(f"CPython {version} is not on this machine: install it, or name others by --python")


def _distribution(file: Path) -> str:
    return file.name.partition("-")[0]


def _run(*words: str, cwd: str | Path = ROOT, **environment: str) -> str:
    """What a command prints on its standard output. Raises NotReleasable with all it printed if it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(words, cwd=cwd, env={**kept, **environment}, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotReleasable(f"{' '.join(words[:4])} ... failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
