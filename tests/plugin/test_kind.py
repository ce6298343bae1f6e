"""What a file is by its bytes, and what a word names."""

import time

import pytest

from pelagos_core.plugin.kind import Kind, kind_of, sniff, split_func


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0asm\1\0\0\0", Kind.MODULE),
        (b"\0asm\x0d\0\1\0", Kind.COMPONENT),
        (b"\0asm\1\0\7\0", Kind.UNKNOWN),
        (b"\0asm\1\0\0", Kind.UNKNOWN),
        (b"\x7fELF\2\1", Kind.ELF),
        (b"#!/bin/sh\n", Kind.SCRIPT),
        (b"(module)", Kind.WAT),
        (b"(component)", Kind.WAT),
        (b"\n ;; a comment\n(; another ;) ( module $x", Kind.WAT),
        (b"(modules)", Kind.UNKNOWN),
        (b'(func (export "_start"))', Kind.WAT),
        (b'(import "m" "f" (func))', Kind.WAT),
        (b'(@custom "x") (module)', Kind.WAT),
        (b"\xef\xbb\xbf(module)", Kind.WAT),
        (b"(; a (; nested ;) comment ;)(;;)(module)", Kind.WAT),
        (b"( (; within ;) ;; and\n module)", Kind.WAT),
        (b";; to the end", Kind.UNKNOWN),
        (b"(; (; ;) (module)", Kind.UNKNOWN),
        (b"(funcs)", Kind.UNKNOWN),
        (b"(data-like)", Kind.UNKNOWN),
        (b"(define x 1)", Kind.UNKNOWN),
        (b"text (module)", Kind.UNKNOWN),
        (b"(;" * 2000, Kind.UNKNOWN),
        (b"", Kind.UNKNOWN),
    ],
)
def test_the_kind_is_read_off_the_bytes(head, kind):
    assert sniff(head) is kind


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("/a.wasm", ("/a.wasm", "")),
        ("/a.wasm#run", ("/a.wasm", "run")),
        ("/a#b.wasm#run", ("/a#b.wasm", "run")),
        ("#run", ("#run", "")),
        ("/a.wasm#", ("/a.wasm", "")),
    ],
)
def test_a_function_stands_behind_the_last_hash(word, parts):
    assert split_func(word) == parts


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((b" " * blanks + b";; licence\n" * 5_000 + b"(module)", Kind.WAT) for blanks in range(11)),
        *((b"\xef\xbb\xbf" + b" " * blanks + b"(component)", Kind.WAT) for blanks in range(4080, 4096)),
        (b"(; %s ;)(func)" % (b"licence " * 5_000), Kind.WAT),
        (b"(;" * 2_000_000, Kind.UNKNOWN),
        (b" " * 4_000_000 + b"(module)", Kind.UNKNOWN),
    ],
)
def test_text_may_begin_with_a_long_comment_but_not_with_one_of_any_length(tmp_path, text, kind):
    (tmp_path / "x").write_bytes(text)
    with (tmp_path / "x").open("rb") as file:
        began = time.process_time()
        assert kind_of(file.fileno()) is kind
        assert time.process_time() - began < 2
