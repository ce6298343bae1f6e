"""Which container gets the event that memory has run out, and when."""

import asyncio
import contextlib
import os
import secrets

import pytest

from pelagos_core.api import task_events_pb2
from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.oci.resources import Memory, Resources
from pelagos_core.task.oom import OomWatch


class Told:
    def __init__(self):
        self.messages = []

    def publish(self, message):
        self.messages.append(message)


@pytest.mark.root
async def test_an_event_is_published_when_a_process_is_killed():
    cgroup = Cgroup.of(f"/pelagos-test-{secrets.token_hex(4)}", "c1")
    cgroup.create(Resources(memory=Memory(limit=16 << 20)))
    told = Told()
    watch = OomWatch("c1", cgroup, told)
    watch.start()
    try:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                joining.join(cgroup)
                bytearray(64 << 20)
            os._exit(0)
        os.waitpid(pid, 0)
        await asyncio.sleep(0)
        watch.look()  # by the loop's reader or by us: once
        assert told.messages == [task_events_pb2.TaskOOM(container_id="c1")]
    finally:
        watch.stop()
        watch.stop()  # again: it is no error
        while not cgroup.try_remove():
            await asyncio.sleep(0.001)


async def test_a_host_without_control_groups_is_no_error():
    watch = OomWatch("c1", Cgroup(()), Told())
    watch.start()
    watch.look()
    watch.stop()
