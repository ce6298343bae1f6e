"""A process as its container's clients see it, with a stub for its launch: start, signals, and its end."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from pelagos_core import reasons
from pelagos_core.backends.builtin import pelagos_wait
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument, NotFound
from pelagos_core.exit_status import ExitStatus
from pelagos_core.isolation.plan import plan
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.hookspecs import Description, hookimpl
from pelagos_core.task import process as process_module
from pelagos_core.task.process import DEADLINE_PASSED, Process
from pelagos_core.task.state import Action, Status
from pelagos_core.task.streams.stdio import StdioPaths
from tests.support.bundles import Fifos
from tests.support.life_cycle import StubCgroup, backend, life_cycle, reaped


class Made:
    """A process of a container without the container."""

    def __init__(self, engine, id="", paths=None, **policy):
        bundle = Bundle.load(str(engine.bundle()), "c1", "ns")
        self.engine = engine
        self.bundle = replace(bundle, policy=replace(bundle.policy, **policy))
        selection = Selection(engine.node.backends, Preference("stub", "a test"))
        self.pids = []
        cache = engine.node.config.cache
        self.process = Process(id, self.bundle, selection, cache, paths or StdioPaths(), engine.launcher)

    async def create(self):
        await self.process.create(plan(self.bundle, StubCgroup("c1")), lambda pid, before: self.pids.append(pid))
        return self.engine.guests[-1]

    async def run(self):
        guest = await self.create()
        self.process.start()
        return guest

    async def ended(self):
        """See to its end, as its container does."""
        status = await self.process.ended()
        self.process.answer_waiters(status)
        return status


@pytest.fixture
def run(tmp_path):
    """Runs a test's body with a process that is to be made; it is STOPPED at the end, or never was."""

    def run(body, hooks=None, **fields):
        async def running():
            with life_cycle(tmp_path, backend(**hooks or {})) as engine:
                made = Made(engine, **fields)
                await body(made)
                if made.process.status in (Status.CREATED, Status.RUNNING):
                    made.process.kill(signal.SIGKILL)
                    await made.ended()
                made.process.close()
                assert all(guest.is_reaped for guest in engine.guests)

        asyncio.run(running())

    return run


def test_it_waits_for_start_and_runs_to_its_end(run):
    async def body(made):
        process = made.process
        assert (process.status, process.pid, process.backend, process.pidfd) == (Status.CREATING, 0, "", -1)
        guest = await made.create()
        assert (process.status, process.pid, process.backend) == (Status.CREATED, guest.pid, "stub")
        assert made.pids == [guest.pid]
        assert not guest.runs
        process.start()
        assert guest.runs
        assert not process.is_exiting
        guest.exit(5)
        assert (await made.ended()).code == 5
        assert (process.status, process.exit.code, process.pid, process.pidfd) == (Status.STOPPED, 5, guest.pid, -1)
        assert process.is_exiting
        assert (await process.delete()).code == 5

    run(body)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, 64])
def test_a_guest_is_ended_by_a_signal_and_reported_by_its_number(run, signum):
    async def body(made):
        await made.run()
        made.process.kill(signum)
        assert (await made.ended()).code == 128 + signum

    run(body)


def test_a_signal_before_start_ends_it_too(run):
    async def body(made):
        await made.create()
        made.process.kill(signal.SIGTERM)
        assert (await made.ended()).code == 128 + signal.SIGTERM

    run(body)


def test_signal_0_and_ignored_ones_do_nothing(run):
    async def body(made):
        guest = await made.run()
        for signum in (0, signal.SIGWINCH, signal.SIGCHLD):
            made.process.kill(signum)
        guest.exit(0)
        assert (await made.ended()).code == 0

    run(body)


def test_the_first_of_two_signals_counts(run):
    async def body(made):
        guest = await made.run()
        made.process.kill(signal.SIGTERM)
        await reaped(guest)
        made.process.kill(signal.SIGINT)  # it has ended, and the daemon has not seen that yet
        assert (await made.ended()).code == 128 + signal.SIGTERM
        with pytest.raises(NotFound):
            made.process.kill(signal.SIGTERM)

    run(body)


def test_what_is_no_signal_is_refused(run):
    async def body(made):
        with pytest.raises(InvalidArgument, match="65 is not a signal"):
            made.process.kill(65)
        with pytest.raises(FailedPrecondition, match="it has no process yet"):
            made.process.kill(signal.SIGKILL)
        made.process.discard(Action.EXIT)

    run(body)


def test_sigkill_does_not_go_by_the_backend(run):
    asked = []

    @hookimpl
    def pelagos_signal(process, signum):
        asked.append(signum)
        return True

    async def body(made):
        await made.run()
        made.process.kill(signal.SIGTERM)
        made.process.kill(signal.SIGKILL)
        assert (await made.ended()).code == 128 + signal.SIGKILL
        assert asked == [signal.SIGTERM]

    run(body, hooks={"pelagos_signal": pelagos_signal})


def test_the_backend_says_how_it_ended(run):
    @hookimpl
    async def pelagos_wait(process):
        return ExitStatus.now(77)

    async def body(made):
        guest = await made.run()
        guest.exit(1)
        assert (await made.ended()).code == 77

    run(body, hooks={"pelagos_wait": pelagos_wait})


@pytest.mark.parametrize("answer", [None, "odd", ZeroDivisionError(), "never", "reaped"])
def test_a_backend_without_an_answer_costs_its_answer_only(run, answer, monkeypatch):
    monkeypatch.setattr(process_module, "_REPORT_SECONDS", 0.01)

    @hookimpl(specname="pelagos_wait")
    async def wait(process):
        if answer == "never":
            await asyncio.sleep(60)
        if answer == "reaped":
            await pelagos_wait(process)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def body(made):
        guest = await made.run()
        guest.exit(4)
        assert (await made.ended()).code == (255 if answer == "reaped" else 4)

    run(body, hooks={"pelagos_wait": wait})


def test_a_guest_is_killed_after_its_deadline_and_that_is_reported(run, tmp_path):
    fifos = Fifos(tmp_path)

    async def body(made):
        await made.run()
        assert (await made.ended()).code == DEADLINE_PASSED
        assert fifos.output()[1] == "pelagos: the deadline of 0.01 s has passed [PLG-DEADLINE]\n"

    run(body, deadline=0.01, paths=StdioPaths(stdout=fifos.stdout, stderr=fifos.stderr))
    fifos.close()


def test_a_guest_that_ends_in_its_time_is_not_late(run):
    async def body(made):
        guest = await made.run()
        guest.exit(0)
        assert (await made.ended()).code == 0

    run(body, deadline=60)


def test_a_key_on_its_terminal_is_a_signal(run):
    async def body(made):
        made.bundle = made.bundle.executing(replace(made.bundle.spec.process, terminal=True))
        made.process.bundle = made.bundle
        guest = await made.run()
        guest.press(signal.SIGINT)
        assert (await made.ended()).code == 128 + signal.SIGINT

    run(body)


def test_a_key_that_comes_too_late_has_not_ended_it(run):
    async def body(made):
        made.bundle = made.bundle.executing(replace(made.bundle.spec.process, terminal=True))
        made.process.bundle = made.bundle
        guest = await made.run()
        guest.exit(3)
        await reaped(guest)
        guest.press(signal.SIGINT)
        assert (await made.ended()).code == 3

    run(body)


def test_a_process_that_is_gone_before_start_is_no_process_to_start(run):
    async def body(made):
        guest = await made.create()
        guest._theirs.close()
        with pytest.raises(FailedPrecondition, match="container 'c1': cannot start, its process is gone"):
            made.process.start()
        assert made.process.status is Status.CREATED

    run(body)


def test_a_launch_that_fails_leaves_what_can_vanish(run, tmp_path):
    fifos = Fifos(tmp_path)

    async def body(made):
        made.engine.launcher.error = error = Internal("container 'c1': no", reasons.ISOLATION)
        with pytest.raises(Internal):
            await made.create()
        made.process.write_error(error)
        made.process.discard(Action.EXIT)
        assert fifos.output()[1] == "pelagos: container 'c1': no [PLG-ISOLATION]\n"
        with pytest.raises(NotFound, match="container 'c1' was never created"):
            await made.process.wait()

    run(body, paths=StdioPaths(stdout=fifos.stdout, stderr=fifos.stderr))
    fifos.close()


def test_streams_that_cannot_be_opened_make_no_process(run):
    async def body(made):
        with pytest.raises(NotFound, match=r"stdout '/proc/none/such' .*\[PLG-STREAMS\]"):
            await made.create()
        made.process.write_error(Internal("no"))  # there is nowhere to say it
        assert not made.engine.guests
        made.process.discard(Action.EXIT)

    run(body, paths=StdioPaths(stdout="/proc/none/such"))


def test_an_exec_that_fails_once_it_is_created_leaves_no_process(run):
    async def body(made):
        made.process.apply(Action.BEGIN)
        guest = await made.create()
        await made.process.fail()
        assert guest.is_reaped
        assert (made.process.status, made.process.exit.code, made.process.pidfd) == (Status.STOPPED, 255, -1)
        assert (await made.process.wait()).code == 255

    run(body, id="e1")


def test_an_exec_that_was_never_started_is_forgotten(run):
    async def body(made):
        assert await made.process.delete() is None
        with pytest.raises(NotFound, match="exec 'e1' of container 'c1' was never started"):
            await made.process.wait()
        with pytest.raises(NotFound):
            await made.process.delete()

    run(body, id="e1")


def test_it_cannot_be_deleted_or_started_while_it_runs(run):
    async def body(made):
        await made.run()
        with pytest.raises(FailedPrecondition, match="cannot delete, it is running"):
            await made.process.delete()
        with pytest.raises(FailedPrecondition, match="cannot start, it is running"):
            made.process.start()

    run(body)


def test_the_way_into_its_container_is_there_while_it_is(run):
    async def body(made):
        with pytest.raises(FailedPrecondition, match="its process is gone"):
            assert made.process.join_target
        guest = await made.run()
        target = made.process.join_target
        assert (target.pidfd, made.process.is_enclosed) == (made.process.pidfd, False)
        guest.exit(0)
        await made.ended()
        with pytest.raises(FailedPrecondition, match="its process is gone"):
            assert made.process.join_target

    run(body)


@pytest.mark.parametrize(
    ("limits", "refused"), [({"memory"}, True), ({"memory", "live-memory"}, False), (set(), False)]
)
def test_an_engine_that_holds_a_limit_itself_keeps_it(run, limits, refused):
    @hookimpl
    def pelagos_describe():
        return Description(limits=frozenset(limits))

    async def body(made):
        memory = replace(made.bundle.spec.resources.memory, limit=1 << 20)
        spec = replace(made.bundle.spec, resources=replace(made.bundle.spec.resources, memory=memory))
        made.process.bundle = replace(made.bundle, spec=spec)
        made.process.check_memory_can_change()  # nothing runs yet
        await made.run()
        if refused:
            with pytest.raises(FailedPrecondition, match=r"cannot change the limit of a running guest.*\[PLG-CGROUP\]"):
                made.process.check_memory_can_change()
        else:
            made.process.check_memory_can_change()

    run(body, hooks={"pelagos_describe": pelagos_describe})


def test_the_streams_of_an_ended_process_are_at_their_end(run, tmp_path):
    fifos = Fifos(tmp_path, stdin=True)

    async def body(made):
        guest = await made.run()
        made.process.close_stdin()
        made.process.resize(80, 25)
        guest.exit(0)
        await made.ended()
        await made.process.wait_for_reader()
        assert fifos.at_end()

    run(body, paths=StdioPaths(fifos.stdin, fifos.stdout, fifos.stderr))
    fifos.close()
    os.unlink(fifos.stdin)
