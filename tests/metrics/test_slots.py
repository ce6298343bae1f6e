"""The node's file: slots of daemons that end in every way, at the same time, and files that others could write."""

import fcntl
import os
import signal
import time

import pytest

from pelagos_core.errors import PelagosError, PermissionDenied
from pelagos_core.linux import child
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.slots import Slot, SlotFile

CELL = families.cell(families.DAEMONS_STARTED, 0)
GAUGE = families.cell(families.CONTAINERS, 1, ("running",))


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "metrics")


def add(slot, cell=CELL, by=1):
    slot.cells[cell] += by
    slot.write(cell, cell + 1)


class Daemon:
    """A process that has a slot and counts on request."""

    def __init__(self, place):
        inside, self._line = os.pipe()
        self._answers, answer = os.pipe()

        def run():
            slot = Slot.take(place)
            os.write(answer, b"k")
            while word := os.read(inside, 1):
                if word == b"e":
                    slot.close()
                else:
                    add(slot)
                    add(slot, GAUGE)
                os.write(answer, b"k")

        self.child = child.fork(run)
        os.close(inside)
        os.close(answer)
        self._hear()

    def _hear(self):
        assert os.read(self._answers, 1) == b"k"

    def tell(self, word):
        os.write(self._line, word)
        self._hear()

    def kill(self):
        self.child.close()
        os.close(self._line)
        os.close(self._answers)


def seen(place):
    """What a reader sees: how many slots, how many of them with a process, the sum of a counter and of a gauge."""
    with SlotFile(place) as file:
        found = list(file.readings())
    live = [reading for reading in found if reading.is_live]
    return len(found), len(live), sum(each.cells[CELL] for each in found), sum(each.cells[GAUGE] for each in live)


def test_counters_survive_a_kill_and_gauges_do_not(place):
    daemons = [Daemon(place) for _ in range(3)]
    for daemon in daemons:
        daemon.tell(b"c")
    assert seen(place) == (3, 3, 3, 3)
    daemons[1].kill()
    assert seen(place) == (3, 2, 3, 2)
    again = Daemon(place)  # in the slot of the one that was killed, which the reader has found
    again.tell(b"c")
    assert seen(place) == (3, 3, 4, 3)
    for daemon in (daemons[0], daemons[2], again):
        daemon.tell(b"e")
        daemon.kill()
    assert seen(place) == (3, 0, 4, 0)


def test_a_stopped_daemon_is_read(place):
    daemon = Daemon(place)
    daemon.tell(b"c")
    daemon.child.signal(signal.SIGSTOP)
    assert seen(place) == (1, 1, 1, 1)
    daemon.kill()


def test_there_are_no_more_slots_than_daemons_at_a_time(place):
    for _ in range(20):
        first, second = Daemon(place), Daemon(place)
        for daemon in (first, second):
            daemon.tell(b"c")
            daemon.tell(b"e")
            daemon.kill()
    assert seen(place) == (2, 0, 40, 0)


def test_slots_of_killed_daemons_are_found_without_a_reader(place):
    for _ in range(slots._LOOK_AT_ALL + 3):
        Daemon(place).kill()
    assert seen(place)[0] <= slots._LOOK_AT_ALL + 1


def test_a_child_has_no_hold_on_the_slot(place):
    slot = Slot.take(place)
    sleeper = child.fork(signal.pause)
    slot.close()
    assert seen(place)[1] == 0
    sleeper.close()


def test_many_at_the_same_moment_have_slots_and_numbers_of_their_own(place):
    def run(report):
        slot = Slot.take(place)
        numbers = [slot.engine(f"engine{number}") for number in range(4)]
        for _ in range(100):
            add(slot)
        os.write(report, bytes(numbers))
        slot.close()

    children = [child.fork_reporting(run) for _ in range(16)]
    told = {each.read_all(4, 20) for each in children}
    for each in children:
        each.close()
    assert len(told) == 1
    assert sorted(told.pop()) == [2, 3, 4, 5]
    assert seen(place)[2] == 1600


def test_engines_beyond_the_table_share_a_number(place):
    slot = Slot.take(place)
    numbers = [slot.engine(f"engine{number}") for number in range(families.ENGINES)]
    slot.close()
    assert numbers == [*range(2, families.OTHER_ENGINE), *[families.OTHER_ENGINE] * 3]
    with SlotFile(place) as file:
        names = file.engines()
    assert (names[0], names[1], names[2], names[families.OTHER_ENGINE]) == ("", "native", "engine0", "other")


def test_a_name_that_is_too_long_has_one_place(place):
    for name in ("e" * 100, "ü" * 33 + "u", "e" * 99):
        numbers = set()
        for _ in range(2):
            slot = Slot.take(place)
            numbers.add(slot.engine(name))
            slot.close()
        assert len(numbers) == 1, name
    with SlotFile(place) as file:
        assert [file.engines()[number] for number in (2, 3)] == ["e" * 64, "ü" * 32]


@pytest.mark.timeout(10)
def test_a_stopped_daemon_that_writes_a_name_stops_no_other(place):
    Slot.take(place).close()
    holds, held = os.pipe()

    def hold():
        fcntl.lockf(os.open(os.path.join(place, families.LAYOUT), os.O_RDWR), fcntl.LOCK_EX, 1, 0)
        os.write(held, b"k")
        signal.pause()

    holder = child.fork(hold)
    try:
        assert os.read(holds, 1) == b"k"
        slot, began = Slot.take(place), time.monotonic()
        assert [slot.engine("e"), slot.engine("e"), slot.engine("native")] == [*[families.OTHER_ENGINE] * 2, 1]
        assert time.monotonic() - began < 2
        slot.close()
    finally:
        holder.close()
        os.close(holds)
        os.close(held)


def test_a_file_of_damaged_lengths_is_read(place):
    slot = Slot.take(place)
    add(slot)
    slot.close()
    path = os.path.join(place, families.LAYOUT)
    for size in (5000, 4096, 100, 0):
        os.truncate(path, size)
        assert seen(place)[1] == 0
        Slot.take(place).close()


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_directory_that_others_can_write_is_refused(place, mode):
    os.mkdir(place)
    os.chmod(place, mode)
    with pytest.raises(PermissionDenied, match="can be written by others"):
        Slot.take(place)


def test_a_file_of_others_a_link_and_a_fifo_are_refused(place):
    os.mkdir(place, 0o700)
    path = os.path.join(place, families.LAYOUT)
    for make in (
        lambda: os.symlink("/etc/passwd", path),
        lambda: os.mkfifo(path, 0o600),
        lambda: os.close(os.open(path, os.O_CREAT)) or os.chmod(path, 0o666),
    ):
        make()
        with pytest.raises((OSError, PelagosError)):
            Slot.take(place)
        os.unlink(path)


def test_the_variable_says_where_or_off(monkeypatch):
    monkeypatch.setenv(slots.VARIABLE, "off")
    assert slots.directory() == ""
    monkeypatch.setenv(slots.VARIABLE, "/x")
    assert slots.directory() == "/x"
    monkeypatch.delenv(slots.VARIABLE)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert slots.directory() == ""
