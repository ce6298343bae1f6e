"""The documentation's site: docs/ with the pages that are made from the code, built by Zensical.

    python -m scripts.site              into build/site; a warning is an error
    python -m scripts.site prepare      only the pages, into build/docs

Zensical reads mkdocs.yml, so another builder of that family can take its place. The pages need no network, and no
server: they can be read and searched as files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import built_site, reference

ROOT = Path(__file__).parent.parent
PREPARED = ROOT / "build/docs"
SITE = ROOT / "build/site"
# Files at the top of the tree that are pages of the site too.
_OF_THE_TOP = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security-reports.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
}
# What the theme is to leave out on a page.
_HIDDEN = {"index.md": ("navigation", "toc")}
_DESCRIPTION = 160
"""Characters of a page's description, which is what search engines show."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WARNING = re.compile(r"Warning: (?P<text>.*)\n.*\[ (?P<page>[^\]:]+):(?P<line>\d+)")
_LINK = re.compile(r"(?P<text>\[(?:[^]\[]|\[[^]]*\])*\])\((?P<target>[^)\s]+)\)")


def main(words: Sequence[str]) -> int:
    """The command; its exit code."""
    prepare()
    if words == ["prepare"]:
        return 0
    faults = build()
    print("\n".join(faults) or f"built {SITE.relative_to(ROOT)}/index.html: open it, or `make docs-serve`")
    return 1 if faults else 0


def build() -> list[str]:
    """Build the site of the prepared pages; what is wrong with it, each as `FILE:LINE: what`."""
    # Zensical keeps what it has built; a page that is gone would stay.
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    printed = _COLOURS.sub("", done.stdout + done.stderr)
    faults = [f"{_place(PREPARED / m['page'], int(m['line']))}: {m['text']}" for m in _WARNING.finditer(printed)]
    if done.returncode:
        return faults or [printed]
    built_site.add_search_of_files(SITE)
    for page, target in built_site.dead_links(SITE):
        source = _written((PREPARED / page).with_suffix(".md"))
        line = built_site.line_of(ROOT / source, target) if (ROOT / source).exists() else 1
        fault = "is loaded from another host" if built_site.is_elsewhere(target) else "leads nowhere"
        faults.append(f"{source}:{line}: {target} {fault}")
    return faults


def _place(page: Path, line: int) -> str:
    """A line of a prepared page as `FILE:LINE` of the tree: without the head that `prepare` has given it."""
    source = _written(page)
    head = 0 if ROOT / source == page else page.read_text().split("---\n")[1].count("\n") + 2
    return f"{source}:{line - head}"


def _written(page: Path) -> Path:
    """The file of the tree that a prepared page is of; that page itself, if it is made from the code."""
    name = str(page.relative_to(PREPARED))
    of_the_top = {there: source for source, there in _OF_THE_TOP.items()}.get(name)
    source = Path(of_the_top) if of_the_top else Path("docs") / name
    return source if (ROOT / source).exists() else page.relative_to(ROOT)


def prepare() -> None:
    """Put every page of the site into build/docs."""
    shutil.rmtree(PREPARED, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PREPARED)
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
    for page in PREPARED.rglob("*.md"):
        page.write_text(_about(page) + page.read_text())


def _about(page: Path) -> str:
    """What the head of a page has about it: its first paragraph as its description, and what it hides."""
    lines = {"description": json.dumps(description(page.read_text()))}
    if hidden := _HIDDEN.get(str(page.relative_to(PREPARED))):
        lines["hide"] = json.dumps(hidden)
    return "".join(["---\n", *(f"{name}: {value}\n" for name, value in lines.items()), "---\n"])


def description(text: str) -> str:
    """The beginning of a page's first paragraph, without Markdown; empty if it has none."""
    bare = re.sub(r"^(```|<!--).*?(```|-->)$", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraph = next((part for part in bare.split("\n\n") if re.match(r"\s*[\w`*\[]", part)), "")
    plain = " ".join(re.sub(r"[`*\"]", "", _LINK.sub(lambda match: match["text"][1:-1], paragraph)).split())
    if len(plain) <= _DESCRIPTION:
        return plain
    whole = re.match(rf".{{40,{_DESCRIPTION}}}\.(?=\s)", plain)
    return whole[0] if whole else plain[: _DESCRIPTION - 2].rsplit(" ", 1)[0] + " …"


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
