"""Frames to and from bytes, in one piece, in crumbs, and from noise."""

import random

import pytest

from pelagos_core.ttrpc.frames import DATA, MAX_DATA, REQUEST, RESPONSE, Frame, FrameReader, Oversized

CASES = [
    (Frame(1, REQUEST, 0, b""), bytes.fromhex("00000000 00000001 01 00")),
    (Frame(3, REQUEST, 1, b"hi"), bytes.fromhex("00000002 00000003 01 01 6869")),
    (Frame(0xFFFFFFFF, RESPONSE, 0, b"\0"), bytes.fromhex("00000001 ffffffff 02 00 00")),
    (Frame(5, DATA, 4, b"x" * 300), bytes.fromhex("0000012c 00000005 03 04") + b"x" * 300),
    (Frame(7, 99, 255, b"unknown type"), bytes.fromhex("0000000c 00000007 63 ff") + b"unknown type"),
]


@pytest.mark.parametrize(("frame", "data"), CASES)
class TestEachFrame:
    def test_is_serialised(self, frame, data):
        assert frame.serialize() == data

    def test_is_parsed_whole(self, frame, data):
        assert FrameReader().feed(data) == [frame]

    def test_is_parsed_byte_by_byte(self, frame, data):
        reader = FrameReader()
        for position in range(len(data) - 1):
            assert reader.feed(data[position : position + 1]) == []
        assert reader.feed(data[-1:]) == [frame]

    def test_is_parsed_with_more_behind_it(self, frame, data):
        reader = FrameReader()
        assert reader.feed(data + data[:5]) == [frame]
        assert reader.feed(data[5:]) == [frame]


def test_several_frames_in_one_piece_come_in_order():
    assert FrameReader().feed(b"".join(data for _, data in CASES)) == [frame for frame, _ in CASES]


def test_the_largest_frame_passes_and_one_byte_more_is_not_sent():
    largest = Frame(1, REQUEST, 0, bytes(MAX_DATA))
    assert FrameReader().feed(largest.serialize()) == [largest]
    with pytest.raises(ValueError, match="4194305 bytes"):
        Frame(1, REQUEST, 0, bytes(MAX_DATA + 1)).serialize()


@pytest.mark.parametrize("chunk", [1 << 16, 1 << 20, MAX_DATA + 11])
def test_an_oversized_frame_is_reported_at_once_and_its_data_thrown_away(chunk):
    reader = FrameReader()
    length = MAX_DATA + 1
    header = length.to_bytes(4, "big") + bytes.fromhex("00000001 01 00")
    assert reader.feed(header) == [Oversized(1, REQUEST, length)]
    body = bytes(length) + CASES[1][1]
    found = []
    for start in range(0, len(body), chunk):
        found += reader.feed(body[start : start + chunk])
        assert len(reader._buffer) < 32
    assert found == [CASES[1][0]]


def test_an_oversized_frame_and_its_data_in_one_piece():
    length = MAX_DATA + 1
    data = length.to_bytes(4, "big") + bytes.fromhex("00000001 01 00") + bytes(length) + CASES[1][1]
    assert FrameReader().feed(data) == [Oversized(1, REQUEST, length), CASES[1][0]]


def test_any_bytes_are_frames_or_wait_for_more():
    noise = random.Random(1)
    for _ in range(20_000):
        reader = FrameReader()
        for item in reader.feed(noise.randbytes(noise.randrange(40))) + reader.feed(noise.randbytes(8)):
            assert isinstance(item, Frame | Oversized)
