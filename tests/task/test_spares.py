"""Spares from a real nursery: children of ours, each for one order."""

import contextlib
import os
import select
import signal
import socket

import pytest

from pelagos_core.backends import Backends
from pelagos_core.container_init.nursery import PID_BYTES
from pelagos_core.task import spares as module
from pelagos_core.task.spares import Spares
from tests.container_init.test_nursery import order
from tests.support.patience import until
from tests.support.traces import alive, children, comm, parent

pytestmark = [pytest.mark.root]

BACKENDS = Backends(())


@contextlib.asynccontextmanager
async def nursery():
    made = Spares()
    made.start(BACKENDS)
    try:
        yield made
    finally:
        made.close()
        with contextlib.suppress(AssertionError):
            await until(lambda: not forked())
        left = forked()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert not left


def forked():
    return [pid for pid in children(os.getpid()) if comm(pid).startswith("pelagos-")]


def the_nursery(spares):
    return spares._pid


def descriptors(pid):
    """But for the streams."""
    return [fd for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]


async def test_a_spare_is_our_child_and_the_first_of_a_pid_namespace():
    async with nursery() as spares:
        spare = spares.take(BACKENDS)
        assert parent(spare.pid) == os.getpid()
        assert os.readlink(f"/proc/{spare.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        assert len(os.listdir(f"/proc/{the_nursery(spares)}/task")) == 1
        assert (await spare.end()).code in (1, 137)  # killed, or quicker to see that we let go of it
        assert not os.path.exists(f"/proc/{spare.pid}")


async def test_a_spare_and_the_nursery_hold_nothing_of_the_daemons():
    async with nursery() as spares:
        spare = spares.take(BACKENDS)
        await until(lambda: comm(spare.pid) == "pelagos-spare")
        for pid in (spare.pid, the_nursery(spares)):
            await until(lambda pid=pid: len(descriptors(pid)) == 1)
        await spare.end()


async def test_more_are_ready_once_containers_come_and_none_when_none_come(monkeypatch):
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.1)
    async with nursery() as spares:
        assert len(forked()) <= 2
        first = spares.take(BACKENDS)
        assert set(forked()) == {the_nursery(spares), first.pid}
        second = spares.take(BACKENDS)  # was not expected
        assert second is None
        third = spares.take(BACKENDS)
        assert third is not None
        await until(lambda: set(forked()) == {the_nursery(spares), first.pid, third.pid})
        for spare in (first, third):
            await spare.end()


async def test_one_that_is_gone_does_not_obey_and_is_reaped():
    async with nursery() as spares:
        spare = spares.take(BACKENDS)
        os.kill(spare.pid, signal.SIGKILL)
        await until(lambda: not alive(spare.pid))
        assert not spare.obey(order())
        spares.give_up(spare)
        await until(lambda: not os.path.exists(f"/proc/{spare.pid}"))


async def test_an_order_that_is_too_long_is_for_nobody():
    async with nursery() as spares:
        spare = spares.take(BACKENDS)
        assert not spare.obey(order(env=("X=" + "y" * (1 << 20),)))
        await spare.end()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_nursery_that_is_lost_is_replaced(signum):
    async with nursery() as spares:
        await spares.take(BACKENDS).end()
        lost = the_nursery(spares)
        os.kill(lost, signum)
        await until(lambda: signum == signal.SIGSTOP or not alive(lost))
        taken = [spares.take(BACKENDS) for _ in range(4)]
        assert taken[0] is None  # the daemon forks itself then
        assert taken[3] is not None
        assert the_nursery(spares) != lost
        assert not os.path.exists(f"/proc/{lost}")
        for spare in filter(None, taken):
            await spare.end()


async def test_other_backends_have_another_nursery():
    async with nursery() as spares:
        before = the_nursery(spares)
        spare = spares.take(Backends(()))
        assert the_nursery(spares) != before
        await spare.end()
        await until(lambda: len(forked()) == 1)


async def test_the_end_of_the_daemon_is_that_of_all():
    pid = os.fork()
    if pid == 0:
        made = Spares()
        made.start(BACKENDS)
        made._receive()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    theirs = children(pid)
    assert len(theirs) == 2
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    await until(lambda: not any(map(alive, theirs)))


async def test_spares_of_a_nursery_that_was_killed_are_reaped_too():
    async with nursery() as spares:
        await until(lambda: select.select([spares._nursery], [], [], 0)[0])  # a spare that nobody has taken in
        assert len(forked()) == 2
        os.kill(spares._pid, signal.SIGKILL)
        spares._lose("was killed")
        spares.close()
        await until(lambda: not forked())


async def test_a_spare_whose_descriptor_was_lost_is_ended():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    spares = Spares()
    with ours, theirs:
        theirs.send(pid.to_bytes(PID_BYTES, "little"))
        assert spares._take_in(ours)
    assert not spares._ready
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
