"""The daemon's event loop is asyncio's, with another selector."""

import asyncio
import os

from pelagos_core.daemon import event_loop
from pelagos_core.linux.epoll import EpollSelector


def test_work_is_run_to_its_end_and_what_is_left_is_cancelled():
    ended = []

    async def stay():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("stay")

    async def work():
        loop = asyncio.get_running_loop()
        assert isinstance(loop._selector, EpollSelector)
        staying = asyncio.ensure_future(stay())
        reader, writer = os.pipe()
        read = loop.create_future()
        loop.add_reader(reader, lambda: read.done() or read.set_result(os.read(reader, 9)))
        loop.call_later(0.01, os.write, writer, b"x")
        assert await asyncio.wait_for(read, 5) == b"x"
        assert loop.remove_reader(reader)
        assert not loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
        ended.append("work")
        assert not staying.done()

    event_loop.run(work())
    assert ended == ["work", "stay"]


def test_other_loops_of_the_process_are_as_before():
    async def nothing():
        pass

    event_loop.run(nothing())
    loop = asyncio.new_event_loop()
    assert not isinstance(loop._selector, EpollSelector)
    loop.close()
