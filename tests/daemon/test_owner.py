"""A daemon sees the end of its command, whenever that is."""

import asyncio
import os

from pelagos_core.daemon import owner, runs
from pelagos_core.daemon.runs import Run


def test_a_daemon_sees_the_end_of_its_command_before_or_after_it_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "places", lambda uid: [str(tmp_path)])
    directory, alive = runs.make(str(tmp_path), runs.new(("x.wasm",)))
    runs.record(directory, Run("run-00000001", os.getpid(), ("x.wasm",), 1.0))

    async def watch():
        waiting = asyncio.ensure_future(owner.wait_for_end(directory))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert runs.listed(os.geteuid())  # a look at it is no end
        os.close(alive)
        await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(owner.wait_for_end(directory), 5)
        runs.remove(directory)
        await asyncio.wait_for(owner.wait_for_end(directory), 5)

    asyncio.run(watch())
