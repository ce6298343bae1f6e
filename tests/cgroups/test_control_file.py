"""Values for control files, and what brings back the ones before."""

import pytest

from pelagos_core.cgroups.control_file import Write

THROTTLE = Write("t", "io.max", "8:0 rbps=5", keyed=True, reset="rbps=max")


def test_the_controller_is_the_first_word_of_the_file():
    assert Write("x", "hugetlb.2MB.max", "0").controller == "hugetlb"


@pytest.mark.parametrize(
    ("write", "before", "value"),
    [
        (Write("m", "memory.max", "5"), "max", "max"),
        (THROTTLE, "8:0 rbps=7 wbps=max", "8:0 rbps=7 wbps=max"),
        (THROTTLE, "8:16 rbps=7", "8:0 rbps=max"),
        (THROTTLE, "", "8:0 rbps=max"),
    ],
)
def test_undoing_writes_what_was_there(write, before, value):
    undo = write.undo(before)
    assert (undo.file, undo.value) == (write.file, value)
