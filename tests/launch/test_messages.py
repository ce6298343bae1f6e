"""What an init process sends to the daemon, and what a plugin might send in its name."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.cache.known_module import MAX_BYTES as MAX_KNOWN
from pelagos_core.errors import Internal
from pelagos_core.launch.messages import (
    MAX_BYTES,
    MAX_TEXT,
    Asking,
    Created,
    Failed,
    Learnt,
    Stopped,
    Terminal,
    Unusable,
    Wanted,
    decode,
    encode,
)
from pelagos_core.plugin.hookspecs import Detection
from tests.cache.test_known_module import KNOWN

MESSAGES = [
    Asking("wasm", "detect"),
    Terminal(),
    Wanted("wasm", "/app.wasm", "0" * 64, "fuel"),
    Learnt("0" * 64, KNOWN),
    Unusable("wasm", "of another version"),
    Created("wasm", "core module", True),
    Failed(3, "no\nsuch \0 ä"),
    Failed(3, "no", "PLG-MOUNT"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_survives_the_way(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize("character", ["ä", "\0", "\U0001f980"])
def test_long_texts_are_cut_to_fit(character):
    data = encode(Created(character * 100_000, character * 100_000, False))
    assert len(data) < MAX_BYTES
    assert len(decode(data).reason) == MAX_TEXT


def test_a_backends_own_reason_is_left_out_and_its_text_is_kept():
    assert decode(encode(Failed(3, "bad module", "MINE-7"))) == Failed(3, "bad module")


def test_what_cannot_be_encoded_is_replaced():
    assert decode(encode(Failed(3, "no \udcff"))) == Failed(3, "no ?")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'["Failed", "x", "y", ""]',
        b'["Failed", 3, "y"]',
        b'["Asking", 1, "y"]',
        b'["Created", "x"]',
        b'["Created", "x", "y", 1]',
        b'["Odd", 1]',
        b'["Refused", 1' + b"0" * 400 + b", 1]",
        b'["Learnt", "0", {}]',
        b'["Learnt", "0", null]',
        b'["Learnt", {}, {}]',
        b'["Learnt", "0", {"calls": "_start"}]',
        b"[" * 9999,
    ],
)
def test_a_malformed_message_is_an_error_of_ours(data):
    with pytest.raises(Internal, match="malformed"):
        decode(data)


def test_a_text_that_is_no_utf_8_is_still_reported():
    assert decode(b'["Stopped",0,1,2,0,"/a\xff\xc3"]') == Stopped(0, 1, 2, 0, "/a\ufffd\ufffd")


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_malformed(data):
    try:
        assert isinstance(decode(data), Asking | Created | Failed)
    except Internal:
        pass


def test_the_most_that_is_learnt_fits():
    text = "\N{CRAB}" * (MAX_KNOWN // 12 - 60)  # in JSON each is 12 bytes
    known = replace(KNOWN, detections={"b": Detection.can(1, text)})
    assert MAX_KNOWN - 1000 < len(json.dumps(known.fields())) <= MAX_KNOWN
    data = encode(Learnt("0" * 64, known))
    assert len(data) < MAX_BYTES
    assert decode(data).known == known
