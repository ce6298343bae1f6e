"""Which process forks an init process, and what is left of an attempt that fails."""

import errno
import os
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import FailedPrecondition
from pelagos_core.isolation.plan import plan
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.launch import forking
from pelagos_core.launch.forking import Forker, paired
from pelagos_core.launch.init import JoinTarget, LaunchRequest
from pelagos_core.launch.nursery import CloneOptions
from pelagos_core.oci import IdMaps, Namespace, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.limits import Limits

OWN = Namespace("pid")
GIVEN = Namespace("pid", "/proc/1/ns/pid")


def maker(*namespaces, target=None, two_stages=False):
    """Makes requests for a container with these namespaces."""
    bundle = Bundle("c1", "ns", "/b", Spec(process=Process(args=("/x",)), namespaces=namespaces), ())
    steps = plan(bundle, Cgroup(()))
    if two_stages:
        steps = replace(steps, second_stage=SecondStageClone(Namespace("user"), IdMaps(), OWN))

    def request(control):
        selection = SimpleNamespace(backends=None)
        return LaunchRequest(bundle, steps, control, (0, 1, 2), selection, Limits(), target)

    return request


@pytest.fixture
def forks(monkeypatch):
    """What the daemon forks itself: the pid namespace's path of each."""
    made = []

    def fork(path):
        made.append(path)
        return 42

    monkeypatch.setattr(forking.namespaces, "fork", fork)
    return made


def forked(forker, request):
    pid, control = forker.fork(request)
    control.close()
    return pid


class FakeNursery:
    """Both of the nurseries and the nursery of any engine."""

    def __init__(self, pid=7):
        self.pid = pid
        self.asked = []

    def of(self, part):
        self.part = part
        return self

    def fork(self, plan, descriptors, clone_options):
        self.asked.append((plan, dict(descriptors), clone_options))
        if isinstance(self.pid, OSError):
            raise self.pid
        return self.pid


class FakeInit:
    @staticmethod
    def first():
        return b"plan"

    @staticmethod
    def slots(descriptors):
        return dict(enumerate(descriptors))

    @staticmethod
    def clone_options(target):
        return CloneOptions(beside=target.pidfd) if target else CloneOptions(1)


def test_a_process_without_an_interpreter_is_a_nurserys():
    nursery = FakeNursery()
    pid, control = Forker("c", nursery).fork_bare("part", FakeInit, (0, 1, 2), None)
    control.close()
    (plan, descriptors, clone_options) = nursery.asked[0]
    assert (pid, plan, clone_options, nursery.part) == (7, b"plan", CloneOptions(1), "part")
    assert [descriptors[number] for number in (1, 2, 3)] == [0, 1, 2]


def test_one_that_joins_a_container_is_given_the_way_into_it():
    nursery = FakeNursery()
    _, control = Forker("c", nursery).fork_bare(None, FakeInit, (0, 1, 2), JoinTarget(9))
    control.close()
    assert nursery.asked[0][1][4] == 9
    assert nursery.asked[0][2] == CloneOptions(beside=9)


def test_nothing_is_left_of_a_fork_that_fails():
    nursery = FakeNursery(OSError(errno.EAGAIN, "busy"))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="busy"):
        Forker("c", nursery).fork_bare(None, FakeInit, (0, 1, 2), None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("request_of", "path"),
    [
        (maker(), None),
        (maker(OWN), ""),
        (maker(GIVEN), GIVEN.path),
        (maker(OWN, two_stages=True), None),
        (maker(GIVEN, two_stages=True), None),
    ],
)
def test_one_with_an_interpreter_is_the_daemons(forks, request_of, path):
    assert forked(Forker("c", FakeNursery()), request_of) == 42
    assert forks == [path]


def test_a_container_that_has_ended_cannot_be_joined(monkeypatch):
    def fork_beside(pidfd):
        raise OSError(errno.ESRCH, "No such process")

    monkeypatch.setattr(forking.namespaces, "fork_beside", fork_beside)
    with pytest.raises(FailedPrecondition, match="exec 'e1': cannot enter the container: No such process") as raised:
        Forker("exec 'e1'", FakeNursery()).fork(maker(OWN, target=JoinTarget(9)))
    assert raised.value.reason == reasons.ISOLATION


def test_the_child_becomes_the_init_process(monkeypatch):
    monkeypatch.setattr(forking.namespaces, "fork", lambda path: 0)
    ran = []
    monkeypatch.setattr(forking.init, "run", ran.append)
    forked(Forker("c", FakeNursery()), maker(OWN))
    assert ran[0].bundle.id == "c1"


def test_the_ends_are_a_pair_of_datagrams():
    other = []

    def fork(theirs):
        other.append(os.dup(theirs.fileno()))
        return 7

    pid, ours = paired(fork)
    with ours, socket.socket(fileno=other[0]) as theirs:
        assert (pid, ours.getblocking(), theirs.type) == (7, False, socket.SOCK_SEQPACKET)
        theirs.send(b"x")
        assert ours.recv(9) == b"x"
