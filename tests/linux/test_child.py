"""A child is waited for, read from, ended, and leaves neither a process nor a descriptor."""

import asyncio
import errno
import os
import signal
import time

import pytest

from pelagos_core.linux import child, syscalls
from pelagos_core.linux.child import Child


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


def sleep():
    time.sleep(60)


def fail():
    raise ValueError("lost")


@pytest.mark.parametrize(("run", "code"), [(lambda: None, 0), (lambda: 7, 7), (fail, 1)])
def test_a_child_ends_with_the_code_of_its_function(run, code):
    with child.fork(run) as made:
        ended = made.wait()
        assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, code)
        assert made.wait(1) == made.reap() == made.end() == ended


def test_one_that_still_runs_is_waited_for_no_longer_than_asked_and_ended():
    with child.fork(sleep) as made:
        assert made.wait(0.05) is None
        assert made.end(0.05).si_status == signal.SIGKILL
        made.signal(signal.SIGTERM)  # to none


def test_it_is_waited_for_without_a_pidfd_too(monkeypatch):
    def refuse(pid):
        raise PermissionError(errno.EPERM, "a filter's")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with child.fork(sleep) as running:
        assert running.wait(0.05) is None
    with child.fork(lambda: 7) as short:
        ended = short.wait(10)
        assert ended
        assert ended.si_status == 7


def test_one_that_ends_in_its_grace_is_not_killed():
    with child.fork(lambda: 3) as made:
        assert made.end(10).si_status == 3


def test_an_error_in_the_parent_leaves_nothing():
    with pytest.raises(ValueError, match="lost"), child.fork_reporting(lambda _: sleep()):
        fail()


def test_a_child_is_released_to_go_on_without_a_descriptor():
    made = child.fork(lambda: 5)
    made.fileno()
    assert os.waitstatus_to_exitcode(os.waitpid(made.release(), 0)[1]) == 5


def test_a_group_is_signalled_by_its_leader():
    def run(report):
        os.setsid()
        os.write(report, b".")
        sleep()

    with child.fork_reporting(run) as made:
        assert made.read(10) == b"."
        made.signal(signal.SIGTERM, group=True)
        assert made.wait(10).si_status == signal.SIGTERM


def test_a_report_is_read_to_its_end_within_the_time():
    def run(report):
        for piece in (b"a", b"b"):
            os.write(report, piece)
            time.sleep(0.01)

    with child.fork_reporting(run) as made:
        assert made.read_all(100, 10) == b"ab"
        assert made.read() == b""
    with child.fork_reporting(lambda report: (os.write(report, b"abc"), sleep())[1]) as made:
        assert made.read_all(3) == b"abc"
    with child.fork_reporting(lambda report: (os.write(report, b"abc"), sleep())[1]) as made:
        assert made.read_all(4, 0.05) is None


async def test_the_loop_goes_on_meanwhile():
    with child.fork_reporting(lambda report: os.write(report, b"x") and 4) as made:
        assert await made.read_async(10) == b"x"
        assert (await made.ended()).si_status == (await made.ended()).si_status == 4
    with child.fork_reporting(lambda _: sleep()) as made:
        assert await made.read_async(0.01) is None


async def test_a_cancelled_wait_leaves_nothing():
    async def run():
        with child.fork(sleep) as made:
            await made.ended()

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_fork_that_fails_leaves_no_pipe(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: fail())
    with pytest.raises(ValueError, match="lost"):
        child.fork_reporting(lambda _: 0)


def test_one_that_cannot_be_watched_is_ended(monkeypatch):
    def refused(_pid):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(os, "pidfd_open", refused)
    with pytest.raises(OSError, match="too many"):
        Child.watched(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))


def test_a_program_has_the_streams_and_the_environment_that_it_is_given():
    reader, writer = os.pipe()
    with child.execute(["/bin/sh", "-c", "echo $A; exit 3"], {"A": "x"}, {1: writer}) as made:
        os.close(writer)
        assert os.read(reader, 100) == b"x\n"
        assert made.reap().si_status == 3
    os.close(reader)


def test_a_program_that_cannot_be_executed_is_named():
    with pytest.raises(FileNotFoundError, match="/no/such"):
        child.execute(["/no/such"], {}, {})
    with pytest.raises(PermissionError, match="/bin/sh"):
        child.execute(["/bin/sh"], {}, {}, lambda: _refuse())


def _refuse():
    raise PermissionError(errno.EPERM, "refused")


@pytest.mark.root
def test_flags_are_those_of_clone():
    with child.fork(lambda: os.getpid() == 1, syscalls.CLONE_NEWPID) as made:
        assert made.reap().si_status == 1
