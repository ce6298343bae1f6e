"""The documentation's site: docs/ with the pages that are made from the code, built by Zensical.

    python -m scripts.site              into build/site; a warning is an error
    python -m scripts.site prepare      only the pages, into build/docs

Zensical reads mkdocs.yml, so another builder of that family can take its place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import reference

ROOT = Path(__file__).parent.parent
PREPARED = ROOT / "build/docs"
# Files at the top of the tree that are pages of the site too.
_OF_THE_TOP = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security-reports.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
}
_LINK = re.compile(r"(?P<text>\[(?:[^]\[]|\[[^]]*\])*\])\((?P<target>[^)\s]+)\)")


def main(words: Sequence[str]) -> int:
    """The command; its exit code."""
    prepare()
    if words == ["prepare"]:
        return 0
    # Zensical keeps what it has built; a page that is gone would stay.
    shutil.rmtree(ROOT / "build/site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def prepare() -> None:
    """Put every page of the site into build/docs."""
    shutil.rmtree(PREPARED, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PREPARED, ignore=shutil.ignore_patterns("*.json"))
    for source, page in _OF_THE_TOP.items():
        (PREPARED / page).write_text(
            with_links_of_the_site((ROOT / source).read_text(), ROOT / source, PREPARED / page)
        )
    for path in (ROOT / "docs").rglob("*.md"):
        page = PREPARED / path.relative_to(ROOT / "docs")
        page.write_text(with_links_of_the_site(path.read_text(), path, page))
    for name, text in reference.pages().items():
        (PREPARED / name).parent.mkdir(exist_ok=True)
        (PREPARED / name).write_text(text)


def with_links_of_the_site(text: str, source: Path, page: Path) -> str:
    """A page's text with its links as they are on the site.

    source: the file of the tree that it is of; its links are relative to that. page: where it is among the prepared
    pages. What is in the tree and not on the site loses its link and keeps its text.
    """

    def link(match: re.Match[str]) -> str:
        path, mark, anchor = match["target"].partition("#")
        if not path or ":" in path:
            return match[0]
        file = (source.parent / path).resolve()
        if file.is_relative_to(ROOT / "docs"):
            there = PREPARED / file.relative_to(ROOT / "docs")
        elif str(file.relative_to(ROOT)) in _OF_THE_TOP:
            there = PREPARED / _OF_THE_TOP[str(file.relative_to(ROOT))]
        else:
            return match["text"][1:-1]
        return f"{match['text']}({os.path.relpath(there, page.parent)}{mark}{anchor})"

    return _LINK.sub(link, text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
