"""The version of all distributions: where it is, what follows it, and which one may be next.

`pelagos_core/__init__.py` has it. What else states it, such as what a distribution depends on, follows by `followed`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parent.parent
_FILE = "pelagos_core/__init__.py"
_FORM = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
UNRELEASED = "## Unreleased\n"


class NotReleasable(Exception):
    """The tree, or what was built from it, cannot be published as it is. The text says what to do."""


def version(root: Path = ROOT) -> str:
    """The version of all distributions, as the tree has it. Raises NotReleasable."""
    found = re.search(r'^__version__ = "(.*)"$', (root / _FILE).read_text(), re.MULTILINE)
    if not found:
        raise NotReleasable(f"{_FILE} has no __version__")
    return found[1]


def next_series(number: str) -> str:
    """The bound below which a later version breaks nothing: before 1.0 the next second number, then the next first."""
    major, minor = Version(number).release[:2]
    return str(major + 1) if major else f"0.{minor + 1}"


def series(number: str) -> str:
    """The range on which another project's backend depends, such as `>=0.1,<0.2`."""
    major, minor = Version(number).release[:2]
    first = f"{major}.{minor}"
    # A version before the first one of its series, such as 0.2.0rc1, is in no range that begins with 0.2.
    return f">={first if Version(first) <= Version(number) else number},<{next_series(number)}"


def debian(number: str) -> str:
    """The number of a Debian package: there `~` stands before what comes before a release (deb-version(7))."""
    return re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"~\1", number)


def after(number: str) -> str:
    """What the tree has after a release: the least that can come, in development (PEP 440)."""
    released = Version(number)
    major, minor, micro = released.release
    if released.pre:
        return f"{major}.{minor}.{micro}{released.pre[0]}{released.pre[1] + 1}.dev0"
    return f"{major}.{minor}.{micro + 1}.dev0"


@dataclass(frozen=True)
class Follower:
    """A place in the tree that states the version.

    file: path in the tree. pattern: what is replaced there. text: makes the new text of a version.
    """

    file: str
    pattern: str
    text: Callable[[str], str] = str


FOLLOWERS = [
    Follower(_FILE, r'(?<=^__version__ = ").*(?="$)'),
    # The core and its compiled part are one thing in two files: pip would leave an older one that a range allows.
    Follower("pyproject.toml", r'(?<="pelagos-native)==[^"]+', "=={}".format),
    *[
        Follower(
            f"plugins/{name}_backend/pyproject.toml",
            r'(?<="pelagos-core)>=[^"]+',
            lambda number: f">={number},<{next_series(number)}",
        )
        for name in ("wasmedge", "wasmer", "wasmtime")
    ],
    *[
        Follower(file, r"(?<=pelagos-core)>=\d[\w.]*,<\d[\w.]*", series)
        for file in (
            "examples/backend/pyproject.toml",
            "docs/shipping-a-program.md",
            "docs/tutorial/backend.md",
            "docs/writing-a-backend.md",
        )
    ],
    Follower("deploy/installer.yaml", r"(?<=/pelagos-installer:)\S+"),
    Follower("docs/nodes.md", r"(?<=pelagos_)\d\S*(?=_amd64\.deb)", debian),
    Follower("docs/nodes.md", r"(?<=pelagos-)\d\S*(?=-linux-)"),
    Follower("docs/nodes.md", r"(?<=pelagos-installer-)\d\S*(?=-linux-)"),
    Follower("docs/nodes.md", r"(?<=/pelagos-installer:)[^\s`]+"),
]


def followed(number: str, root: Path = ROOT) -> dict[Path, str]:
    """The files that state the version, with their text for another one.

    Raises NotReleasable: one of them states it no more.
    """
    texts: dict[Path, str] = {}
    for each in FOLLOWERS:
        path = root / each.file
        new, count = re.subn(each.pattern, each.text(number), texts.get(path) or path.read_text(), flags=re.MULTILINE)
        if not count:
            raise NotReleasable(f"{each.file} has no {each.pattern!r}: correct the list in {Path(__file__).name}")
        texts[path] = new
    return texts


def checked(number: str, present: str, released: list[str]) -> None:
    """Raise NotReleasable unless a number can be the next release's.

    present: what the tree has. released: the numbers of all releases until now.
    """
    if not _FORM.fullmatch(number) or str(Version(number)) != number:
        raise NotReleasable(f"{number!r} is no version: write 0.1.0 or 0.2.0rc1")
    if number in released:
        raise NotReleasable(f"{number} is released already: there is a tag v{number}")
    newest = max(map(Version, released), default=None)
    if newest and Version(number) < newest:
        raise NotReleasable(f"{number} is not greater than {newest}, which is released")
    if Version(number) < Version(present):
        raise NotReleasable(f"{number} is not greater than {present}, which the tree has in {_FILE}")


def dated(changelog: str, number: str, day: datetime.date) -> str:
    """The changelog with its section "Unreleased" under a number and a day, and an empty one above it.

    Raises NotReleasable: there is no such section, it has no entry, or the number has a section already.
    """
    if re.search(rf"^## {re.escape(number)}(?![\w.])", changelog, re.MULTILINE):
        raise NotReleasable(f"CHANGELOG.md has a section {number} already")
    head, found, rest = changelog.partition(UNRELEASED)
    section = rest.partition("\n## ")[0]
    if not found:
        raise NotReleasable(f'CHANGELOG.md has no heading "{UNRELEASED.strip()}"')
    if not re.search(r"^- ", section, re.MULTILINE):
        raise NotReleasable(f'CHANGELOG.md has no entry under "{UNRELEASED.strip()}"')
    return f"{head}{UNRELEASED}\n## {number} - {day.isoformat()}\n{rest}"
