"""Plans in the compiled library: what it says of itself, and what it carries out in a process."""

import os
import struct

import pytest

from pelagos_core import __version__
from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.native import library
from pelagos_core.native.instruction import Slot, SlotNumbers, encode, instruction
from pelagos_core.native.process import Failure, NativeProcess

CLOSE, KEEP = (library.operations()[name][0] for name in ("close_slot", "keep_slots"))


def test_operations_are_read_from_the_library():
    assert library.operations()["die_with_parent"][1] == "i"
    assert library.slots()[:2] == ("control", "root")
    assert library.stages()[0] == "call"


def test_instructions_are_carried_out_in_order():
    before = os.umask(0)
    try:
        assert NativeProcess().run([instruction("set_umask", 0o77), instruction("set_umask", 0o27)]) is None
        assert os.umask(0) == 0o27
    finally:
        os.umask(before)


def test_a_failure_says_which_instruction_and_why():
    process = NativeProcess()
    assert process.run([instruction("close_slot", Slot("x"))]) == Failure(0, 9)
    assert Failure(0, 9).strerror == "Bad file descriptor"


def test_slots_hold_descriptors():
    process = NativeProcess()
    process["x"] = os.open("/", os.O_PATH)
    assert "x" in process
    assert process.run([instruction("close_slot", Slot("x"))]) is None
    assert "x" not in process


def test_a_text_with_a_nul_is_refused():
    with pytest.raises(InvalidArgument, match="NUL"):
        encode([instruction("close_slot", "a\0b")], SlotNumbers())


def test_a_library_of_another_version_is_named_with_the_one_to_install():
    with pytest.raises(FailedPrecondition, match=rf"no operation 'fly', .* install pelagos-native=={__version__}"):
        encode([instruction("fly")], SlotNumbers())


def test_texts_are_utf_8_whatever_the_locale(monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert encode([instruction("say", "\u00e4\udcff")], SlotNumbers())[8:] == b"\xc3\xa4\xff\0"


def test_a_root_that_no_call_takes_is_refused():
    NativeProcess("/" + "a" * 4094)
    for size in (4095, 4096, 10000):  # with its NUL, a path has 4096 bytes at most
        with pytest.raises(InvalidArgument, match="the root's path has"):
            NativeProcess("/" + "a" * size)


def test_there_are_slots_for_a_thousand_descriptors():
    numbers = SlotNumbers()
    for number in range(1024 - len(library.slots())):
        numbers.of(f"source {number}")
    with pytest.raises(InvalidArgument, match="too many mounts"):
        numbers.of("one more")


@pytest.mark.parametrize(
    "plan",
    [
        b"\1",
        struct.pack("=HH", 60000, 0),
        struct.pack("=HH", CLOSE, 0),  # an argument too few
        struct.pack("=HHI", CLOSE, 1, 8),  # of which nothing comes
        struct.pack("=HHIqB", CLOSE, 1, 8, 9, 1),  # no NUL behind it
        struct.pack("=HHIqB", CLOSE, 1, 8, 5000, 0),  # no such slot
        struct.pack("=HHIqB", CLOSE, 1, 8, -1, 0),
        struct.pack("=HHIqB", KEEP, 1, 8, 5000, 0),
        struct.pack("=HHIBB", KEEP, 1, 1, 7, 0),  # no slot
    ],
)
def test_what_is_no_plan_is_refused(plan):
    process = NativeProcess()
    assert library.library().plan_execute(process._memory, plan, len(plan)) == -74  # EBADMSG
