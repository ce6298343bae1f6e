"""The daemon's half of a launch, with a fake init process: a child that sleeps, for which the test speaks."""

import asyncio
import errno
import os
import signal
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pelagos_core import reasons
from pelagos_core.backends import registry
from pelagos_core.backends.registry import NATIVE, Backends
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.cache.known_module import KnownKey, KnownModule
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.node_file import CacheSettings, Config
from pelagos_core.errors import Cancelled, FailedPrecondition, Internal, InvalidArgument, PelagosError
from pelagos_core.isolation.plan import plan
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.launch import conversation, exchange, messages
from pelagos_core.launch.conversation import Conversation
from pelagos_core.launch.empty_networks import EmptyNetworks
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.messages import (
    Asking,
    Assembled,
    Created,
    Failed,
    Found,
    Learnt,
    Refused,
    SecondStage,
    Stopped,
    Terminal,
    Unusable,
    Wanted,
)
from pelagos_core.oci import IdMaps, Namespace, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.hookspecs import Detection
from pelagos_core.plugin.limits import Limits
from tests.support.patience import until
from tests.support.sleeper import is_reaped, sleeper

CLONE = SecondStageClone(Namespace("user"), IdMaps((), ()), None)
BACKEND = registry.Backend("wasm", "1", "", registry._manager(SimpleNamespace()).hook)


class Streams:
    child = (0, 1, 2)
    adopted = None

    def adopt(self, master):
        self.adopted = os.fstat(master).st_ino
        os.close(master)


class FakeInits:
    """Forks, each of them a child that only sleeps, and the other end of its control socket."""

    def __init__(self):
        self.requests = []
        self.children = []
        self.controls = []

    def fork_bare(self, part, init, stdio, target):
        raise OSError(errno.EAGAIN, "no nursery")

    def fork(self, request):
        return self.paired(lambda theirs: self.requests.append(request(theirs)))

    def paired(self, tell):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.settimeout(10)
        tell(theirs)
        self.controls.append(theirs)
        self.children.append(sleeper(start_new_session=True))
        return self.children[-1], ours

    def say(self, *said, fds=()):
        for message in said:
            data = message if isinstance(message, bytes) else messages.encode(message)
            socket.send_fds(self.controls[-1], [data], fds)

    async def hear(self):
        return await asyncio.get_running_loop().run_in_executor(None, self.controls[-1].recv, 64)

    def end(self):
        """The init process ends, and with it its end of the socket."""
        os.kill(self.children[-1], signal.SIGTERM)
        self.controls[-1].close()


@pytest.fixture
def inits():
    made = FakeInits()
    yield made
    for control in made.controls:
        control.close()
    for pid in made.children:
        if not is_reaped(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def pids():
    return []


@pytest.fixture
def launch(tmp_path, pids):
    spec = Spec(process=Process(args=("/x",)), namespaces=(Namespace("pid"),))
    bundle = Bundle("c1", "ns", str(tmp_path), spec, ())
    selection = Selection(Backends((BACKEND,)), Preference("wasm", "a test"))
    return Launch("container 'c1'", bundle, plan(bundle, Cgroup(())), selection, Config().cache, Streams(), pids.append)


async def begin(launch, inits):
    """A conversation on its way, and its outcome to come."""
    made = Conversation(launch, inits, KnownModules(), EmptyNetworks())
    outcome = asyncio.ensure_future(made.run())
    await asyncio.sleep(0)
    return made, outcome


def give_up(launched):
    launched.control.close()
    signal.pidfd_send_signal(launched.pidfd, signal.SIGKILL)
    os.close(launched.pidfd)


async def test_a_created_process_is_handed_over(launch, inits, pids):
    _, outcome = await begin(launch, inits)
    inits.say(Asking("wasm", "detect"), Asking("wasm", "spawn"), Created("wasm", "it can", True))
    launched = await outcome
    assert pids == inits.children == [launched.pid]
    assert (launched.backend, launched.reason, launched.enclosed) == (BACKEND, "it can", True)
    assert (launched.listens, launched.termination_signal) == (False, 0)
    launched.control.send(messages.GO)
    assert await inits.hear() == messages.GO
    give_up(launched)


@pytest.mark.parametrize(
    ("backend", "terminal", "limit", "listens"),
    [("wasm", False, 1 << 20, True), ("native", False, 1 << 20, False), ("native", True, None, True)],
)
async def test_a_process_with_a_terminal_or_a_limited_guest_goes_on_speaking(
    launch, inits, backend, terminal, limit, listens
):
    spec = replace(launch.bundle.spec, process=replace(launch.bundle.spec.process, terminal=terminal))
    if limit:
        memory = replace(spec.resources.memory, limit=limit)
        spec = replace(spec, resources=replace(spec.resources, memory=memory))
    _, outcome = await begin(replace(launch, bundle=replace(launch.bundle, spec=spec)), inits)
    inits.say(Created(backend, "", False))
    launched = await outcome
    assert (launched.listens, launched.backend is NATIVE) == (listens, backend == "native")
    give_up(launched)


@pytest.mark.parametrize("less", [0, 1])
async def test_an_oom_score_that_may_not_be_lowered_is_a_warning(launch, inits, caplog, less):
    with open("/proc/self/oom_score_adj") as file:
        asked = int(file.read()) - less
    spec = replace(launch.bundle.spec, process=replace(launch.bundle.spec.process, oom_score_adj=asked))
    _, outcome = await begin(replace(launch, bundle=replace(launch.bundle, spec=spec)), inits)
    inits.say(Created("wasm", "", False))
    give_up(await outcome)
    text = f"container 'c1': process.oomScoreAdj: {asked}: the shim may not lower it"
    assert [message for message in caplog.messages if "oomScoreAdj" in message] == [text] * less


async def failed(outcome, inits, kind, match=None, reason=""):
    with pytest.raises(kind, match=match) as raised:
        await outcome
    if reason:
        assert raised.value.reason == reason
    assert all(map(is_reaped, inits.children))


async def test_an_error_keeps_its_code_and_its_reason(launch, inits):
    _, outcome = await begin(launch, inits)
    inits.say(Failed(InvalidArgument.code, "no such thing", reasons.MOUNT))
    await failed(outcome, inits, InvalidArgument, "^container 'c1': no such thing", reasons.MOUNT)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (b"\xff\xff", "malformed message"),
        (Refused(2, 1), "sent Refused at the wrong time"),
        (Created("none", "", False), "none"),
        (SecondStage(1), "second stage that is not part of its plan"),
        (Wanted("wasm", "/x", "0", ""), "at the wrong time"),
        (Learnt("0", KnownModule(("_start",))), "at the wrong time"),
    ],
)
async def test_nothing_is_believed_that_it_cannot_say(launch, inits, said, match):
    _, outcome = await begin(launch, inits)
    inits.say(said)
    await failed(outcome, inits, PelagosError, match)


async def test_a_process_that_is_lost_is_named_with_its_signal(launch, inits):
    _, outcome = await begin(launch, inits)
    inits.end()
    await failed(outcome, inits, Internal, "its process has ended unexpectedly: .*SIGTERM", reasons.LOST)


async def test_a_backend_that_ends_its_process_in_detect_is_left_out(launch, inits, pids):
    _, outcome = await begin(launch, inits)
    inits.say(Asking("wasm", "detect"))
    inits.end()
    await until(lambda: len(inits.children) == 2)
    assert [failure.name for failure in inits.requests[1].selection.excluded] == ["wasm"]
    inits.say(Created("native", "", False))
    launched = await outcome
    assert pids == inits.children
    assert is_reaped(inits.children[0])
    give_up(launched)


async def test_a_backend_that_ends_its_process_in_spawn_fails_the_launch(launch, inits):
    _, outcome = await begin(launch, inits)
    inits.say(Asking("wasm", "spawn"))
    inits.end()
    await failed(outcome, inits, Internal, "backend 'wasm' failed in spawn", reasons.ENGINE_FAILED)


async def test_a_backend_that_does_not_answer_is_left_out(launch, inits, monkeypatch):
    monkeypatch.setattr(exchange, "_HOOK_SECONDS", 0.01)
    _, outcome = await begin(launch, inits)
    inits.say(Asking("wasm", "detect"))
    await until(lambda: len(inits.children) == 2)
    (failure,) = inits.requests[1].selection.excluded
    assert failure.reason == "no answer in 0.01 s"
    inits.say(Failed(3, "no"))
    await failed(outcome, inits, InvalidArgument, "no")


async def test_a_kill_cancels_the_launch(launch, inits):
    made, outcome = await begin(launch, inits)
    made.signal(signal.SIGWINCH)
    made.signal(signal.SIGTERM)
    inits.controls[-1].close()
    await failed(outcome, inits, Cancelled, "killed while it was being created", reasons.KILLED)


async def test_a_kill_that_meets_a_process_which_is_given_up_still_counts(launch, inits, monkeypatch):
    """A backend has crashed, and its process is about to be reaped: there is no next one."""
    made, outcome = await begin(launch, inits)
    ended = conversation.InitProcess.ended

    async def killed_meanwhile(self):
        await ended(self)
        made.signal(signal.SIGKILL)

    inits.say(Unusable("wasm", "old"))
    monkeypatch.setattr(conversation.InitProcess, "ended", killed_meanwhile)
    monkeypatch.setattr(made._code, "discard", lambda _: None)
    await failed(outcome, inits, Cancelled, "killed while it was being created")
    assert len(inits.children) == 1


async def test_a_kill_after_the_last_message_is_reported_with_the_process(launch, inits):
    made, outcome = await begin(launch, inits)
    inits.say(Created("wasm", "", False))
    made.signal(signal.SIGTERM)
    launched = await outcome
    assert launched.termination_signal == signal.SIGTERM
    give_up(launched)


async def test_a_cancelled_launch_leaves_no_process(launch, inits):
    _, outcome = await begin(launch, inits)
    outcome.cancel()
    await failed(outcome, inits, asyncio.CancelledError)


async def test_refused_code_is_compiled_again_once(launch, inits):
    made, outcome = await begin(launch, inits)
    made._code._entry = "entry"  # some was given
    inits.say(Unusable("wasm", "of another version"))
    await until(lambda: len(inits.children) == 2)
    inits.say(Unusable("wasm", "of another version"))
    await failed(outcome, inits, Internal, "'wasm' does not accept compiled code: of another", reasons.ENGINE_FAILED)


async def test_compiled_code_is_given_by_a_descriptor(launch, inits, monkeypatch, tmp_path):
    made, outcome = await begin(launch, inits)

    async def obtain(backend, wanted, module, process):
        assert (backend, wanted.digest, os.fstat(module).st_ino) == (BACKEND, "0", os.stat(tmp_path).st_ino)
        return os.open(tmp_path, os.O_RDONLY)

    monkeypatch.setattr(made._code, "obtain", obtain)
    module = os.open(tmp_path, os.O_RDONLY)
    inits.say(Asking("wasm", "code_key"))
    inits.say(Wanted("wasm", "/x", "0", ""), fds=[module])
    os.close(module)
    loop = asyncio.get_running_loop()
    data, fds, _, _ = await loop.run_in_executor(None, socket.recv_fds, inits.controls[-1], 64, 1)
    assert data == messages.CODE
    assert os.fstat(fds[0]).st_ino == os.stat(tmp_path).st_ino
    os.close(fds[0])
    inits.say(Created("wasm", "", False))
    give_up(await outcome)


async def test_a_kill_ends_the_wait_for_compiled_code(launch, inits, monkeypatch):
    made, outcome = await begin(launch, inits)
    asked = asyncio.Event()

    async def obtain(backend, wanted, module, process):
        asked.set()
        return await process.unless_ended(asyncio.sleep(60))

    monkeypatch.setattr(made._code, "obtain", obtain)
    inits.say(Asking("wasm", "code_key"))
    inits.say(Wanted("wasm", "/x", "0", ""), fds=[0])
    await asked.wait()
    made.signal(signal.SIGKILL)
    await failed(outcome, inits, Cancelled, "killed while it was being created")


async def test_a_terminal_of_the_containers_own_is_adopted(launch, inits, tmp_path):
    _, outcome = await begin(launch, inits)
    master = os.open(tmp_path, os.O_RDONLY)
    inits.say(Terminal(), fds=[master])
    os.close(master)
    inits.say(Created("native", "", False))
    give_up(await outcome)
    assert launch.streams.adopted == os.stat(tmp_path).st_ino


async def test_hooks_are_run_between_assembled_and_the_wait_for_start(launch, inits, monkeypatch):
    ran = []

    async def run(hooks, bundle, status, pid):
        ran.append((status, pid))

    monkeypatch.setattr(exchange.runtime_hooks, "run", run)
    _, outcome = await begin(launch, inits)
    inits.say(Assembled())
    assert await inits.hear() == messages.GO
    assert ran == [("creating", inits.children[0])]
    inits.say(Created("wasm", "", False))
    give_up(await outcome)


async def test_a_second_stage_takes_the_place_of_the_first(launch, inits, pids):
    launch = replace(launch, plan=replace(launch.plan, second_stage=CLONE))
    made, outcome = await begin(launch, inits)
    second = sleeper(start_new_session=True)
    inits.say(SecondStage(second))
    os.kill(inits.children[0], signal.SIGKILL)  # it leaves
    assert await inits.hear() == messages.GO
    assert pids == [inits.children[0], second]
    assert made.pid == second
    inits.say(Created("wasm", "", False))
    launched = await outcome
    assert launched.pid == second
    assert is_reaped(inits.children[0])
    give_up(launched)
    os.waitpid(second, 0)


async def test_a_second_stage_must_be_a_child_of_ours(launch, inits):
    launch = replace(launch, plan=replace(launch.plan, second_stage=CLONE))
    _, outcome = await begin(launch, inits)
    inits.say(SecondStage(1))
    await failed(outcome, inits, Internal, "process 1 is no child of the shim")


async def test_the_container_to_join_is_looked_for_at_each_fork(launch, inits):
    def gone():
        raise FailedPrecondition("container 'c1': its process is gone")

    with pytest.raises(FailedPrecondition, match="its process is gone"):
        await Conversation(replace(launch, find_target=gone), inits, KnownModules(), EmptyNetworks()).run()
    assert not inits.children


FOUND = Found(0, 0o644, b"\0asm\1\0\0\0".hex(), "d" * 64)
KNOWN = KnownModule(("_start",), detections={"wasm": Detection.can(9, "yes")}, settings={"wasm": None})


class BareInits(FakeInits):
    """The same, and processes without an interpreter too, which find a module."""

    def fork_bare(self, part, init, stdio, target):
        init.first()
        return self.paired(lambda theirs: None)


@pytest.fixture
def bare_inits(inits, monkeypatch):
    monkeypatch.setattr(inits, "__class__", BareInits)
    return inits


@pytest.fixture
def looked_up(launch, tmp_path, bare_inits):
    """Launches a process, up to one with an interpreter that is asked what it learns."""
    known, cache = KnownModules(), CacheSettings(str(tmp_path / "cache"))

    async def begun():
        outcome = asyncio.ensure_future(
            Conversation(replace(launch, cache=cache), bare_inits, known, EmptyNetworks()).run()
        )
        await asyncio.sleep(0)
        bare_inits.say(FOUND)
        await until(lambda: len(bare_inits.requests) == 1)
        return outcome

    key = KnownKey.of(FOUND.digest, "", Limits(), launch.bundle, launch.selection.backends)
    return begun, lambda: known.find(cache, key), lambda: known.keep(cache, key, KNOWN)


async def test_of_a_module_that_is_not_known_it_is_learnt_what_is_to_be_kept(looked_up, bare_inits):
    begun, find, _ = looked_up
    outcome = await begun()
    assert bare_inits.requests[0].learns
    bare_inits.say(Asking("wasm", "detect"), Learnt(FOUND.digest, KNOWN), Asking("wasm", "spawn"))
    bare_inits.say(Created("wasm", "", False))
    give_up(await outcome)
    assert find() == KNOWN


async def test_of_a_module_that_is_known_nothing_is_learnt(looked_up, bare_inits):
    begun, _, keep = looked_up
    keep()
    outcome = await begun()  # its backend has no native part
    assert not bare_inits.requests[0].learns
    bare_inits.say(Created("wasm", "", False))
    give_up(await outcome)


async def test_nothing_is_kept_of_another_module_than_was_found(looked_up, bare_inits):
    begun, find, _ = looked_up
    outcome = await begun()
    bare_inits.say(Asking("wasm", "detect"), Learnt("e" * 64, KNOWN), Learnt(FOUND.digest, KNOWN))
    bare_inits.say(Created("wasm", "", False))
    give_up(await outcome)
    assert find() is None  # it is reported once


async def test_nothing_is_learnt_of_a_process_in_which_an_engine_has_seen_the_module(looked_up, bare_inits):
    begun, find, _ = looked_up
    outcome = await begun()
    bare_inits.say(Asking("wasm", "spawn"), Learnt(FOUND.digest, KNOWN))
    await failed(outcome, bare_inits, Internal, "reported a module at the wrong time", reasons.ENGINE_FAILED)
    assert find() is None


@pytest.mark.parametrize(
    "numbers",
    [(0, 10**9, 5, 0), (9, 0, 5, 0), (0, 0, 2**40, 0), (0, 0, 5, 999), (-9, 0, 5, 0), (0, -(10**9), 5, 0)],
    ids=["step", "part", "errno", "stage", "no part", "no step"],
)
async def test_a_process_with_odd_numbers_of_its_plan_has_failed_nevertheless(launch, bare_inits, numbers):
    outcome = asyncio.ensure_future(Conversation(launch, bare_inits, KnownModules(), EmptyNetworks()).run())
    await asyncio.sleep(0)
    bare_inits.say(Stopped(*numbers, "odd"))
    await failed(outcome, bare_inits, Internal, "^container 'c1': ")
