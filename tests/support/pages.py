"""The blocks of code of the documents: which there are, what they show, and which test runs each.

markdown-it finds them, by the rules of CommonMark. The libraries that run documents under pytest (sybil,
pytest-codeblocks, pytest-markdown-docs) pass over a block that no parser of theirs takes, and run each by itself; cram
and its like have a format of their own. Here a block that nothing runs is a fault, a page has one shell, and a session
needs markers and a machine.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.support.page_runs import RUNS, How

ROOT = Path(__file__).parent.parent.parent
_ID = re.compile(r"\brun-[0-9a-f]{8}\b")
_LEFT_OUT = {".venv", "build", "dist", "node_modules"}


@dataclass(frozen=True)
class Command:
    """A command of a page, and what is shown below it. place: `PAGE:LINE`."""

    place: str
    text: str
    output: str


@dataclass(frozen=True)
class Block:
    """A fenced block. page: its path in the tree. line: that of its fence, from 1 on."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[Command]:
        """Those of a session, after `$ ` or `# ` (root's); else each line is one, which shows nothing."""
        lines = [(self.line + number, line) for number, line in enumerate(self.text.splitlines(), 1)]
        if self.language != "console":
            return [Command(f"{self.page}:{number}", line, "") for number, line in lines if line]
        found: list[Command] = []
        for number, line in lines:
            if line.startswith(("$ ", "# ")):
                found.append(Command(f"{self.page}:{number}", line[2:], ""))
            else:
                last = found.pop()
                found.append(Command(last.place, last.text, f"{last.output}{line}\n"))
        return found


@functools.cache
def pages() -> tuple[str, ...]:
    """Every document of the tree."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return tuple(sorted(str(path) for path in found if not _LEFT_OUT & set(path.parts)))


@functools.cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page, also those that are indented as a whole."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text())
    code = [token for token in tokens if token.type in ("fence", "code_block") and token.map]
    return tuple(Block(page, token.map[0] + 1, token.info.strip(), token.content) for token in code if token.map)


def keys_of(block: Block) -> list[str]:
    """The keys of the page in the table that mean the block, the most exact ones alone."""
    table = RUNS.get(block.page, {})
    exact = [key for key in table if not key.startswith("```") and key != "*" and key in block.text]
    return exact or [key for key in (f"```{block.language}", "*") if key in table][:1]


def how(block: Block) -> How | None:
    """What runs the block; None if nothing is said to, or more than one key means it."""
    keys = keys_of(block)
    return RUNS[block.page][keys[0]] if len(keys) == 1 else None


def all_blocks() -> Iterator[Block]:
    """Those of every page."""
    for page in pages():
        yield from blocks(page)


def given_to(test: str | Path, *of: str, languages: tuple[str, ...] = ()) -> list[Block]:
    """The blocks that a test file has to run, in their order. of: pages, or all. languages: or all."""
    name = str(Path(test).relative_to(ROOT))
    found = (block for page in of or pages() for block in blocks(page) if how(block) == name)
    return [block for block in found if not languages or block.language in languages]


def differs(shown: str, printed: str) -> bool:
    """Whether a command has printed something else than a page shows.

    `...` stands for the rest of a line, or for lines where a line has nothing else. Ids of containers are all alike.
    """
    pattern = "".join(_pattern(line) for line in _ID.sub("run-ID", shown).splitlines())
    return not re.fullmatch(pattern, _ID.sub("run-ID", printed))


def _pattern(line: str) -> str:
    return r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
