"""Recognises WebAssembly text, and reads its imports and exports by matching parentheses, without an engine.

The text is untrusted. It is searched, not validated: the engine reports its faults.
Source: core specification, "Text Format"; component-model, Explainer.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pelagos_core.plugin.interface import UNKNOWN, Export, Import, Interface

_MAX_BYTES = 256 << 10
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = re.compile(rb"(?:[ \t\r\n]|;;[^\n]*)*")
_COMMENT_ENDS = re.compile(rb"\(;|;\)")
# The fields of a module may be written without `(module ...)` (core specification, "Text Format", Modules).
_FIRST_WORD = re.compile(
    rb"@|(?:module|component|type|rec|import|func|table|memory|global|tag|export|start|elem|data)"
    rb"(?![0-9A-Za-z!#$%&'*+./:<=>?@\\^_`|~-])"
)
_LONGEST_BEGINNING = len(b"(component ")
# A string without a closing quote is a token too: otherwise each quote would start a search to the text's end, which
# takes quadratic time.
_TOKEN = re.compile(rb';;[^\n]*|\(;|"(?:[^"\\]|\\.?)*"?|[()]|[^\s()";]+', re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:u\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
_CORE_KINDS = {"func": "function", "table": "table", "memory": "memory", "global": "global", "tag": "tag"}
_COMPONENT_KINDS = {
    **{kind: kind for kind in ("core", "value", "type", "component", "instance")},
    "func": "function",
}


def begins(head: bytes) -> bool:
    """Whether WebAssembly text begins with these bytes."""
    start = _start(head)
    return head[start : start + 1] == b"(" and bool(_FIRST_WORD.match(head, _after_comments(head, start + 1)))


def is_all_comment(head: bytes) -> bool:
    """Whether these bytes contain only comments, or less than a first word, so that more bytes are needed."""
    return len(head) - _start(head) < _LONGEST_BEGINNING


def read(file: int) -> Interface:
    """Read the interface of an open text file; UNKNOWN if the text is too long or not understood.

    The types of functions are not read.
    """
    if os.fstat(file).st_size > _MAX_BYTES:
        return UNKNOWN
    fields = _lists(os.pread(file, _MAX_BYTES, 0).removeprefix(_BYTE_ORDER_MARK))
    if not fields or fields[0].word not in ("module", "component"):
        return UNKNOWN if fields is None else _interface(fields, is_component=False)
    whole = fields[0]
    # (module binary "…") and (module quote "…") contain the module as strings.
    return UNKNOWN if whole.strings else _interface(whole.inner, is_component=whole.word == "component")


@dataclass(slots=True)
class _List:
    """The content of one pair of parentheses: its first word, its strings, and the nested lists."""

    word: str = ""
    strings: list[bytes] = field(default_factory=list)
    has_shared: bool = False
    inner: list[_List] = field(default_factory=list)


def _start(head: bytes) -> int:
    return _after_comments(head, len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0)


def _after_comments(text: bytes, at: int) -> int:
    """The offset after white space and comments."""
    while True:
        blanks = _BLANKS.match(text, at)
        assert blanks is not None  # the pattern also matches an empty text
        at = blanks.end()
        if text[at : at + 2] != b"(;":
            return at
        at = _comment_end(text, at)


def _comment_end(text: bytes, at: int) -> int:
    """The end offset of the block comment that begins at `at`; block comments may be nested."""
    depth = 0
    for mark in _COMMENT_ENDS.finditer(text, at):
        depth += 1 if mark[0] == b"(;" else -1
        if not depth:
            return mark.end()
    return len(text)


def _tokens(text: bytes) -> Iterator[bytes]:
    """Yield the parentheses, strings and words of a text, without its comments."""
    at = 0
    while at < len(text):
        for match in _TOKEN.finditer(text, at):
            if match[0] == b"(;":
                at = _comment_end(text, match.start())
                break
            if not match[0].startswith(b";;"):
                yield match[0]
        else:
            return


def _lists(text: bytes) -> list[_List] | None:
    """The lists of a text with their content; None if the parentheses do not match."""
    stack = [_List()]
    for token in _tokens(text):
        if token == b"(":
            stack.append(_List())
        elif token == b")":
            if len(stack) == 1:
                return None
            done = stack.pop()
            stack[-1].inner.append(done)
        elif token.startswith(b'"'):
            stack[-1].strings.append(token[1:-1])
        elif not stack[-1].word:
            stack[-1].word = token.decode("ascii", "replace")
        elif token == b"shared":
            stack[-1].has_shared = True
    return stack[0].inner if len(stack) == 1 else None


def _interface(fields: list[_List], *, is_component: bool) -> Interface:
    kinds = _COMPONENT_KINDS if is_component else _CORE_KINDS
    found = [(each, each.inner[0] if each.inner else _List()) for each in fields]
    # (func (export "f") …) is short for (export "f" (func …)); imports have the same short form.
    found += [(short, each) for each in fields if each.word in kinds for short in each.inner if not short.inner]
    imports, exports = [], []
    for each, item in found:
        names = [_text(string) for string in each.strings]
        kind = kinds.get(item.word, "")
        if kind == "type" and any(bound.word == "sub" for bound in item.inner):
            kind = "resource"
        if each.word == "import" and len(names) == (1 if is_component else 2):
            imports.append(Import("" if is_component else names[0], names[-1], kind))
        elif each.word == "export" and names:
            exports.append(Export(names[0], kind))
    is_shared = any(each.word == "memory" and each.has_shared for each in fields)
    return Interface(tuple(imports), tuple(exports), is_component=is_component, has_shared_memory=is_shared)


def _text(string: bytes) -> str:
    return _ESCAPE.sub(_unescaped, string).decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return chr(min(int(match[1], 16), 0x10FFFF)).encode("utf-8", "replace")
    return bytes([int(match[2], 16)]) if match[2] else _CONTROLS.get(match[3], match[3])
