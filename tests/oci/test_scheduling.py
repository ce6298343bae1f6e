"""`process.rlimits`, `scheduler` and `ioPriority`, read and refused."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import IoPriority, Rlimit, Scheduler
from pelagos_core.oci.field import Field
from pelagos_core.oci.scheduling import read_io_priority, read_rlimits, read_scheduler

NOFILE = {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}


def read(reader, value):
    return reader(Field("process.x", value))


def test_they_are_read():
    assert read(read_rlimits, [NOFILE]) == (Rlimit("RLIMIT_NOFILE", 1, 2**64 - 1),)
    deadline = {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RECLAIM"], "runtime": 1, "deadline": 2, "period": 3}
    assert read(read_scheduler, deadline) == Scheduler("SCHED_DEADLINE", 0, 0, ("SCHED_FLAG_RECLAIM",), 1, 2, 3)
    assert read(read_scheduler, {"policy": "SCHED_OTHER", "nice": -5}) == Scheduler("SCHED_OTHER", -5)
    assert read(read_io_priority, {"class": "IOPRIO_CLASS_IDLE"}) == IoPriority("IOPRIO_CLASS_IDLE")


def test_what_is_absent_is_none():
    assert (read(read_rlimits, None), read(read_scheduler, None), read(read_io_priority, None)) == ((), None, None)


@pytest.mark.parametrize(
    ("reader", "value", "message"),
    [
        (read_rlimits, [NOFILE, NOFILE], "process.x: RLIMIT_NOFILE is repeated"),
        (read_rlimits, [{**NOFILE, "type": "NOFILE"}], r"process.x\[0\]: type: 'NOFILE' is none of"),
        (read_rlimits, [{**NOFILE, "hard": 0}], r"process.x\[0\]: soft limit 1 is above the hard limit 0"),
        (read_rlimits, [{**NOFILE, "hard": 2**64}], "is not between"),
        (read_scheduler, {}, "policy: '' is none of"),
        (read_scheduler, {"policy": "SCHED_RR", "priority": 100}, "priority: 100 is not between"),
        (read_scheduler, {"policy": "SCHED_RR", "flags": ["X"]}, "flags.*: 'X' is none of"),
        (read_io_priority, {"class": "IOPRIO_CLASS_RT", "priority": 8}, "priority: 8 is not between"),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(reader, value, message):
    with pytest.raises(InvalidArgument, match=message):
        read(reader, value)
