"""Check the project's English against `scripts/prose.yml`: wording, repeated words, length of sentences.

    python -m scripts.prose              # every file that the rules name
    python -m scripts.prose docs/x.md    # these files, if the rules name them

It reads the prose of Markdown, the docstrings, comments and messages of Python, and the comments of C, YAML, TOML and
shell. Code blocks and `code` in a line are not prose. Each fault is a line `file:line: rule: "words": better wording`,
and the exit code is 1.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
_FILE = Path(__file__).with_suffix(".yml")
_CODE = "\N{OBJECT REPLACEMENT CHARACTER}"  # in place of code: one word, which no rule matches
_WORD = re.compile(rf"[\w'/.-]*[\w{_CODE}][\w'/.-]*")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)[.!?][\")*_]*\s+|[:;]\s+")
_REPEATED = re.compile(r"\b([A-Za-z]+)\s+\1\b(?!-)")
_FIELD = r"(?::\w+ ?[\w.]*:|[a-z_]+(?:, [a-z_]+)*: )"  # of a docstring: names of arguments, `:return:`
_MESSAGE_SPACES = 3  # a string with as many spaces is a message for people


@dataclass(frozen=True)
class Block:
    """A paragraph, cell, heading, docstring or comment: its text, and the line in the file of each of its lines."""

    text: str
    line: int
    is_prose: bool = True  # sentences; else a message, which may be a list of words

    def line_of(self, offset: int) -> int:
        """The line in the file of a place in the text."""
        return self.line + self.text.count("\n", 0, offset)


@dataclass(frozen=True)
class Fault:
    """One place that a rule does not allow."""

    path: Path
    line: int
    rule: str
    words: str
    better: str

    def __str__(self) -> str:
        words = " ".join(self.words.replace(_CODE, "`…`").split())
        return f'{self.path}:{self.line}: {self.rule}: "{words}": {self.better}'


@dataclass(frozen=True)
class Rules:
    """The rules, as `scripts/prose.yml` has them."""

    files: dict[str, list[str]]  # kind of text -> globs
    longest_sentence: int  # words
    patterns: tuple[tuple[str, re.Pattern[str], str], ...]  # rule, what is a fault, a better wording
    allowed: tuple[re.Pattern[str], ...]  # what is none, and is not looked at

    @classmethod
    def load(cls, path: Path = _FILE) -> Rules:
        """Read the rules of a file."""
        data = yaml.safe_load(path.read_text())
        patterns = (
            (rule, _words(pattern), better)
            for rule, wordings in data["rules"].items()
            for pattern, better in wordings.items()
        )
        return cls(data["files"], data["longest_sentence"], tuple(patterns), tuple(map(_words, data["allowed"])))

    def paths(self) -> Iterator[tuple[str, Path]]:
        """Every file to check, with the kind of its text."""
        for kind, globs in self.files.items():
            for path in sorted({path for glob in globs for path in ROOT.glob(glob)}):
                yield kind, path

    def check(self, kind: str, path: Path) -> Iterator[Fault]:
        """Every fault of a file."""
        for block in BLOCKS[kind](path.read_text()):
            for offset, rule, words, better in self.faults(block):
                yield Fault(path.relative_to(ROOT), block.line_of(offset), rule, words, better)

    def faults(self, block: Block) -> Iterator[tuple[int, str, str, str]]:
        """Every fault of a block: where it begins, the rule, the words, a better wording."""
        if block.is_prose:
            yield from self._faults_of_sentences(block.text)
        text = block.text
        for pattern in self.allowed:
            text = pattern.sub(lambda found: re.sub(r"\S", _CODE, found[0]), text)
        for rule, pattern, better in self.patterns:
            for found in pattern.finditer(text):
                yield found.start(), rule, found[0], better

    def _faults_of_sentences(self, text: str) -> Iterator[tuple[int, str, str, str]]:
        for offset, sentence in sentences(text):
            length = len(_WORD.findall(sentence))
            if length > self.longest_sentence:
                yield offset, "length", sentence[:40], f"{length} words: make two sentences"
        for found in _REPEATED.finditer(text):
            yield found.start(), "repeated", found[0], "write the word once"


def _words(pattern: str) -> re.Pattern[str]:
    """Whole words, in whatever case and lines."""
    return re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE)


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of a text and where each begins. A colon or a semicolon ends one too."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield start, text[start : end.start()]
        start = end.end()
    yield start, text[start:]


def _blank(pattern: str, text: str, flags: int = 0) -> str:
    """Replace what matches by code's placeholder, and keep its lines."""
    return re.sub(pattern, lambda found: _CODE + "\n" * found[0].count("\n"), text, flags=flags)


def markdown(text: str) -> Iterator[Block]:
    """The paragraphs, headings, list items and cells of a page."""
    text = re.sub(r"^( *)```.*?^\1```", lambda code: "\n" * code[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", lambda note: "\n" * note[0].count("\n"), text, flags=re.DOTALL)
    text = _blank(r"`[^`]+`", text)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", lambda link: link[1] + "\n" * link[0].count("\n", len(link[1])), text)
    for first, lines in _paragraphs(text):
        if lines[0].lstrip().startswith("|"):
            for number, row in enumerate(lines):
                yield from (Block(cell.strip(), first + number) for cell in row.split("|") if cell.strip(" -:"))
        else:
            yield Block("\n".join(lines), first)


def _paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that belong together, and the number of the first."""
    lines: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), 1):
        begins = re.match(r" *(#|[-*+] |\d+\. )", line) or (line.lstrip()[:1] == "|") != (
            bool(lines) and lines[-1].lstrip()[:1] == "|"
        )
        if lines and (begins or not line.strip()):
            yield first, lines
            lines = []
        if line.strip():
            first = number if not lines else first
            lines.append(line)
    if lines:
        yield first, lines


def docstrings(text: str) -> Iterator[Block]:
    """The paragraphs of the docstrings of a module of Python."""
    for node in _documented(ast.parse(text)):
        docstring = ast.get_docstring(node, clean=False)
        yield from _plain(docstring, node.body[0].lineno) if docstring else ()


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _documented(node: ast.AST) -> Iterator[_Documented]:
    """A module, and all classes and functions in it. (ast.walk would look at each expression too.)"""
    if isinstance(node, _Documented):
        yield node
    for statement in getattr(node, "body", ()):
        if isinstance(statement, ast.stmt):
            yield from _documented(statement)


def comments(text: str) -> Iterator[Block]:
    """The comments of a module of Python; those of lines that follow each other are one."""
    found: list[tuple[int, bool, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("#!", "# noqa", "# type:", "# pragma")):
            alone = not token.line[: token.start[1]].strip()
            found.append((token.start[0], alone, token.string.lstrip("#: ")))
    yield from _joined(found)


def messages(text: str) -> Iterator[Block]:
    """The texts of a module of Python that are for people: strings of several words that are no docstrings."""
    tree = ast.parse(text)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in statements | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            value = "".join(part.value if isinstance(part, ast.Constant) else _CODE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            value = node.value
        else:
            continue
        if value.count(" ") >= _MESSAGE_SPACES and "\n " not in value and not value.startswith("(module"):
            yield Block(_blank(r"`[^`]+`", value), node.lineno, is_prose=False)


def c_comments(text: str) -> Iterator[Block]:
    """The comments of a file of C."""
    for found in re.finditer(r"/\*(.*?)\*/", text, re.DOTALL):
        plain = re.sub(r"^\s*\*", "", found[1], flags=re.MULTILINE)
        yield from _plain(plain, text.count("\n", 0, found.start()) + 1)
    lines = ((number, line.partition("//")) for number, line in enumerate(text.splitlines(), 1))
    yield from _joined([(number, not code.strip(), note.strip()) for number, (code, mark, note) in lines if mark])


def hash_comments(text: str) -> Iterator[Block]:
    """The comments of a file of YAML, TOML, shell or make that have a line to themselves."""
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    yield from _joined((number, True, line.lstrip("# ")) for number, line in lines if line.startswith("#"))


def _joined(found: Iterable[tuple[int, bool, str]]) -> Iterator[Block]:
    lines: list[str] = []
    first = 0
    goes_on = False
    for number, alone, words in found:
        if goes_on and alone and number == first + len(lines):
            lines.append(words)
            continue
        if lines:
            yield from _plain("\n".join(lines), first)
        first, lines, goes_on = number, [words], alone
    if lines:
        yield from _plain("\n".join(lines), first)


def _plain(text: str, line: int) -> Iterator[Block]:
    """The paragraphs of a docstring or comment; its fields and list items are apart, and indented code is left out."""
    margin = min((len(rest) - len(rest.lstrip()) for rest in text.split("\n")[1:] if rest.strip()), default=0)
    text = re.sub(rf"^ {{{margin + 4}}}.*", "", text, flags=re.MULTILINE)
    text = _blank(r"`[^`]+`", text)
    number = line
    for part in re.split(rf"(\n[ \t]*\n|\n(?=[ \t]*(?:{_FIELD}|[-*] )))", text):
        if part.strip() and not part.lstrip(" \n").startswith("\b"):  # so click marks what it shows as it stands
            yield Block(re.sub(rf"^\s*{_FIELD}", _CODE, part), number)
        number += part.count("\n")


BLOCKS = {
    "markdown": markdown,
    "docstrings": docstrings,
    "comments": comments,
    "messages": messages,
    "c": c_comments,
    "hash": hash_comments,
}


def main(words: list[str]) -> int:
    """Print every fault. Returns the exit code: 1 if there is one."""
    only = {Path(word).resolve() for word in words}
    rules = Rules.load()
    faults = [
        fault for kind, path in rules.paths() if not only or path.resolve() in only for fault in rules.check(kind, path)
    ]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
