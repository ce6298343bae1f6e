"""What a running guest's process tells the daemon."""

import logging

from pelagos_core.launch import messages
from pelagos_core.launch.messages import Failed, Refused
from pelagos_core.task.control import Refusals

TOO_MUCH = b'["Refused", 1' + b"0" * 400 + b", 2]"


def test_the_first_refusal_of_memory_is_logged_and_nothing_else(caplog):
    refusals = Refusals("container 'c1'")
    with caplog.at_level(logging.INFO):
        for datagram in (b"{}", b"\xff\xff", messages.encode(Failed(1, "x")), b'["Refused", "1", 2]', TOO_MUCH):
            refusals.hear(datagram)
        assert not caplog.records
        refusals.hear(messages.encode(Refused(96 << 20, 64 << 20)))
        refusals.hear(messages.encode(Refused(97 << 20, 64 << 20)))
    (record,) = caplog.records
    assert record.getMessage().startswith("container 'c1': the guest asked for 96 MiB of memory;")
    assert record.getMessage().endswith("[PLG-MEMORY]")
