"""What one daemon counts, and that a file which cannot be used costs it nothing but the figures."""

import errno
import os

import pytest

from pelagos_core.metrics import families, slots
from pelagos_core.metrics.recorder import NOT_COUNTED, Recorder, now
from pelagos_core.metrics.slots import SlotFile


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.VARIABLE, str(tmp_path))
    return str(tmp_path)


def cells(place):
    with SlotFile(place) as file:
        (reading,) = file.readings()
    return reading.cells


def test_a_count_and_a_duration_are_in_the_file_at_once(place):
    recorder = Recorder.of_node()
    recorder.count(families.EXITS, "e", "container", "trap")
    recorder.count(families.CONTAINERS, "e", "running")
    recorder.count(families.CONTAINERS, "e", "running", by=-1)
    recorder.observe(families.CREATE_SECONDS, "e", now() - 30_000_000)
    found = cells(place)
    assert found[families.cell(families.DAEMONS_STARTED, 0)] == 1
    assert found[families.cell(families.EXITS, 2, ("container", "trap"))] == 1
    assert found[families.cell(families.CONTAINERS, 2, ("running",))] == 0
    first = families.cell(families.CREATE_SECONDS, 2)
    assert 30_000_000 <= found[first] < 50_000_000
    assert list(found[first + 1 : first + 15]) == [0, 0, 0, 0, 0, 1] + [0] * 8
    recorder.close()
    recorder.close()


def test_a_gauge_does_not_fall_below_zero(place):
    recorder = Recorder.of_node()
    recorder.count(families.CONTAINERS, "e", "running", by=-1)
    assert cells(place)[families.cell(families.CONTAINERS, 2, ("running",))] == 0
    recorder.close()


def test_a_full_cell_stays_full(place):
    recorder = Recorder.of_node()
    most, first = 2**64 - 1, families.cell(families.CREATE_SECONDS, 1)
    for cell in (families.cell(families.OOM_KILLS, 0), first):
        recorder._slot.cells[cell] = most
    recorder.count(families.OOM_KILLS)
    recorder.observe(families.CREATE_SECONDS, "native", now() - 1)
    assert [cells(place)[families.cell(families.OOM_KILLS, 0)], cells(place)[first]] == [most, most]
    recorder.close()


@pytest.mark.parametrize("wanted", [False, True])
def test_off_makes_no_file(tmp_path, monkeypatch, wanted):
    monkeypatch.setenv(slots.VARIABLE, "off" if wanted else str(tmp_path / "metrics"))
    recorder = Recorder.of_node(wanted=wanted)
    recorder.count(families.EXITS, "e", "container", "trap")
    recorder.observe(families.CREATE_SECONDS, "e", now())
    recorder.close()
    assert not recorder.is_on
    assert not os.listdir(tmp_path)
    assert not NOT_COUNTED.is_on


def test_a_directory_that_cannot_be_made_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(slots.VARIABLE, str(tmp_path / "file"))
    assert not Recorder.of_node().is_on


def test_a_full_file_system_ends_the_counting_and_no_more(place, monkeypatch):
    recorder = Recorder.of_node()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        recorder.count(families.EXITS, "native", "container", "trap")
    assert not recorder.is_on
    recorder.count(families.EXITS, "native", "container", "trap")
