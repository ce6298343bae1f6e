"""The built site: whether its links lead somewhere, and the search of pages that are read as files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SEARCH = """\
// A page that is a file (file://) may read no other file, and start no worker from one: the index and the worker's
// text are here. A page that is served asks for search.json, and for the worker's own file.
var __index = %s;
{
  const source = URL.createObjectURL(new Blob([%s], { type: "text/javascript" }));
  const WorkerOfAddress = window.Worker;
  window.Worker = class extends WorkerOfAddress { constructor() { super(source); } };
}
"""


@dataclass
class _Page(HTMLParser):
    """What a page has: the names that a fragment can have, and what it links to and loads."""

    names: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)  # those of the targets that a browser gets without a click

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each element."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.names.add(value)
            if name in ("href", "src") and value and not (tag == "link" and dict(attrs).get("rel") == "canonical"):
                self.targets.append(value)
                if tag not in ("a", "area"):
                    self.loaded.add(value)


def add_search_of_files(site: Path) -> None:
    """Write search.js, which the theme loads where a page is a file.

    Nothing is downloaded: the index and the worker are those that the build has written.
    """
    (worker,) = (site / "assets/javascripts/workers").glob("search.*.js")
    index = (site / "search.json").read_text()
    (site / "search.js").write_text(_SEARCH % (index.replace("</", "<\\/"), json.dumps(worker.read_text())))


def dead_links(site: Path) -> Iterator[tuple[str, str]]:
    """Each link to a file or a heading that is not there: the page, relative to `site`, and the link.

    A page that loads anything from another host is one, too: the site is read without a network.
    """
    pages = {path: _parsed(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for target in dict.fromkeys(page.targets):
            if not _leads_somewhere(target, path, site, pages) or (target in page.loaded and is_elsewhere(target)):
                yield str(path.relative_to(site)), target


def is_elsewhere(target: str) -> bool:
    """Whether a link is to another host."""
    return bool(urlsplit(target).netloc)


def line_of(source: Path, target: str) -> int:
    """The line of a page's source that has a link, from 1; 1 if it is made by the build.

    target: as in the built page, whose pages end in .html.
    """
    wanted = target.replace(".html", ".md")
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if target in line or wanted in line:
            return number
    return 1


def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def _leads_somewhere(target: str, path: Path, site: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return True
    if parts.path.startswith("/"):  # of the page for what is not there, which is served at any depth
        file = site / parts.path.lstrip("/")
    else:
        file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if file not in pages:
        return file.is_file()
    return not parts.fragment or re.sub(r"^__.*", "", unquote(parts.fragment)) in pages[file].names | {""}
