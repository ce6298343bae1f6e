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
from pelagos_core.oci import IdMaps, Namespace, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.limits import Limits

OWN = Namespace("pid")
GIVEN = Namespace("pid", "/proc/1/ns/pid")


class FakeNursery:
    def __init__(self, pid):
        self.pid = pid
        self.requests = []

    def fork(self, request):
        self.requests.append(request)
        return self.pid


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
    pid, control = forker(request)
    control.close()
    return pid


def test_the_first_of_a_new_pid_namespace_is_the_nurserys(forks):
    nursery = FakeNursery(7)
    assert forked(Forker("c", nursery), maker(OWN)) == 7
    assert not forks


@pytest.mark.parametrize(
    ("request_of", "path"),
    [
        (maker(), None),
        (maker(GIVEN), GIVEN.path),
        (maker(OWN, two_stages=True), None),
        (maker(GIVEN, two_stages=True), None),
    ],
)
def test_others_are_the_daemons(forks, request_of, path):
    nursery = FakeNursery(7)
    assert forked(Forker("c", nursery), request_of) == 42
    assert not nursery.requests
    assert forks == [path]


def test_the_daemon_forks_where_the_nursery_does_not(forks):
    """By another socket: the nursery may have forked all the same."""
    nursery = FakeNursery(0)
    assert forked(Forker("c", nursery), maker(OWN)) == 42
    assert nursery.requests[0].control.fileno() == -1


def test_a_container_that_has_ended_cannot_be_joined(monkeypatch):
    def fork_beside(pidfd):
        raise OSError(errno.ESRCH, "No such process")

    monkeypatch.setattr(forking.namespaces, "fork_beside", fork_beside)
    with pytest.raises(FailedPrecondition, match="exec 'e1': cannot enter the container: No such process") as raised:
        Forker("exec 'e1'", FakeNursery(7))(maker(OWN, target=JoinTarget(9)))
    assert raised.value.reason == reasons.ISOLATION


def test_the_child_becomes_the_init_process(monkeypatch):
    monkeypatch.setattr(forking.namespaces, "fork", lambda path: 0)
    ran = []
    monkeypatch.setattr(forking.init, "run", ran.append)
    forked(Forker("c"), maker(OWN))
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
