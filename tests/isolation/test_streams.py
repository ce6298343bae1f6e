"""A process' own descriptors and streams, each step in a child."""

import os
import stat

import pytest

from pelagos_core.errors import Internal
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.state import CONTROL, ERRORS, INPUT, OUTPUT, State
from pelagos_core.isolation.streams import (
    FIRST,
    OF_INIT,
    STREAMS,
    CutStreams,
    GiveStreams,
    KeepDescriptors,
    MoveDescriptors,
    NoInput,
    UseStreams,
)
from pelagos_core.rootfs.root import Root
from tests.support.absent import ABSENT
from tests.support.child import in_child


def in_process(tmp_path, operations, look, names=OF_INIT, backwards=False):
    """Carry steps out where each slot has a file of its own, in numbers that may be in each other's way."""

    def run():
        files = [os.open(tmp_path / name, os.O_CREAT | os.O_RDWR) for name in names]
        numbers = range(FIRST, FIRST + len(files))
        # As if they had been opened in another order: each is where another one goes.
        high = [os.dup2(file, 60 + number) for number, file in enumerate(files)]
        for file, number in zip(reversed(high) if backwards else high, numbers, strict=True):
            os.dup2(file, number)
        own = list(reversed(numbers)) if backwards else list(numbers)
        state = State(Root(ABSENT), dict(zip(names, own, strict=True)))
        execute(operations, state)
        return look(state)

    return in_child(run)


def name_of(file):
    return os.path.basename(os.readlink(f"/proc/self/fd/{file}"))


def opened(above=FIRST):
    found = []
    for number in range(above, 200):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


@pytest.mark.parametrize("backwards", [False, True])
def test_own_descriptors_are_moved_and_all_others_are_closed(tmp_path, backwards):
    # The child reports through a pipe, which would be closed: what is seen goes by an exception's text instead.
    def look(state):
        seen = ([name_of(state.get(slot)) for slot in OF_INIT], opened())
        keep = os.open(tmp_path / "seen", os.O_CREAT | os.O_WRONLY)
        os.write(keep, repr(seen).encode())

    with pytest.raises(AssertionError, match="the child died"):
        in_process(tmp_path, [MoveDescriptors(OF_INIT)], look, backwards=backwards)
    assert (tmp_path / "seen").read_text() == repr((list(OF_INIT), [3, 4, 5, 6]))


def test_those_that_are_kept_keep_their_numbers(tmp_path):
    def look(state):
        keep = [state.get(slot) for slot in (INPUT, ERRORS)]
        seen = os.open(tmp_path / "seen", os.O_CREAT | os.O_WRONLY)
        os.write(seen, repr(sorted(set(opened()) - {seen}) == keep).encode())

    with pytest.raises(AssertionError, match="the child died"):
        in_process(tmp_path, [KeepDescriptors((INPUT, ERRORS))], look)
    assert (tmp_path / "seen").read_text() == "True"


def test_the_streams_become_0_to_2_and_are_closed_where_they_were(tmp_path):
    def look(state):
        left = [slot for slot in STREAMS if slot in state.descriptors]
        return [name_of(number) for number in (0, 1, 2)], left, name_of(state.get(CONTROL)), 4 in opened()

    assert in_process(tmp_path, [UseStreams()], look) == ([INPUT, OUTPUT, ERRORS], [], CONTROL, False)


def test_nothing_is_read_where_there_is_no_input(tmp_path):
    def look(state):
        return os.readlink(f"/proc/self/fd/{state.get(INPUT)}"), name_of(state.get(OUTPUT))

    assert in_process(tmp_path, [NoInput()], look) == (os.devnull, OUTPUT)


def test_a_process_without_streams_has_null_for_each(tmp_path):
    def look(_state):
        return {os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)}

    assert in_process(tmp_path, [CutStreams()], look) == {os.devnull}


@pytest.mark.root
def test_a_user_owns_its_streams_but_no_device(tmp_path):
    def look(state):
        return [os.fstat(state.get(slot)).st_uid for slot in STREAMS]

    assert in_process(tmp_path, [NoInput(), GiveStreams(12345)], look) == [0, 12345, 12345]
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_slot_that_was_never_filled_is_a_fault_of_the_plan(tmp_path):
    with pytest.raises(Internal, match="give the streams to user 0: Bad file descriptor"):
        in_process(tmp_path, [GiveStreams(0)], lambda _: None, names=(CONTROL, INPUT))
