"""A real nursery: it forks who obeys an order, as a child of ours."""

import contextlib
import os
import pickle
import select
import signal
import socket

import pytest

from pelagos_core.backends.registry import Backends
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.isolation.plan import plan
from pelagos_core.launch import messages, nursery
from pelagos_core.launch.init import LaunchRequest
from pelagos_core.launch.messages import Failed
from pelagos_core.launch.nursery import Nursery
from pelagos_core.linux.namespaces import fork_sibling
from pelagos_core.oci import Mount, Namespace, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.limits import Limits
from tests.support.containerd import until
from tests.support.traces import alive, children, comm, parent

BACKENDS = Backends(())


def order(control=None, backends=BACKENDS, **fields):
    spec = Spec(process=Process(args=("/x",), **fields), annotations={"a": "b"}, namespaces=(Namespace("pid"),))
    bundle = Bundle("c1", "ns", "/b", spec, (Mount("/", "bind", "/image", ("ro",)),))
    selection = Selection(backends, Preference("some", "somebody"))
    return LaunchRequest(bundle, plan(bundle, Cgroup(())), control, (0, 1, 2), selection, Limits(memory=1 << 20))


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine takes its time to fork."""
    monkeypatch.setattr(nursery, "_WAIT_SECONDS", 20)


def test_an_order_arrives_with_the_backends_of_the_receiver(monkeypatch):
    ours, theirs = socket.socketpair()
    sent = order(ours)
    theirs.close()
    own = Backends(())
    monkeypatch.setattr(nursery, "_own", [own])
    got = pickle.loads(nursery.encode(sent))
    ours.close()
    assert got.control is None
    assert got.selection.backends is own
    assert (got.bundle, got.plan, got.limits) == (sent.bundle, sent.plan, sent.limits)
    assert got.selection.preference == sent.selection.preference


def test_an_order_is_short():
    assert len(nursery.encode(order())) < 5 << 10


@contextlib.contextmanager
def a_nursery():
    made = Nursery()
    made.start(BACKENDS)
    try:
        yield made
    finally:
        made.close()
        for pid in forked():  # of a test that has failed
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def forked():
    return [pid for pid in children(os.getpid()) if comm(pid).startswith("pelagos-")]


def fork(made, **fields):
    """Have an order obeyed; the pid, and our end of what the process tells by."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        return made.fork(order(theirs, **fields)), ours


def end(pid, control):
    control.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.root
def test_who_obeys_is_our_child_and_the_first_of_a_pid_namespace():
    with a_nursery() as made:
        nursery_pid = made._pid
        pid, control = fork(made)
        assert parent(pid) == os.getpid()
        assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        assert len(os.listdir(f"/proc/{nursery_pid}/task")) == 1
        # It does what it was told: there is no such bundle on this machine.
        told = messages.decode(control.recv(messages.MAX_BYTES))
        assert isinstance(told, Failed)
        assert "/b/rootfs" in told.message
        end(pid, control)


@pytest.mark.root
def test_the_nursery_holds_nothing_of_the_daemons_or_of_its_forks():
    with a_nursery() as made:
        nursery_pid = made._pid
        for _ in range(3):
            end(*fork(made))
        until(lambda: [fd for fd in os.listdir(f"/proc/{nursery_pid}/fd") if int(fd) > 2] == ["3"])


@pytest.mark.root
def test_an_order_that_is_too_long_is_for_nobody():
    with a_nursery() as made:
        pid, control = fork(made, env=("X=" + "y" * (1 << 20),))
        control.close()
        assert pid == 0
        end(*fork(made))


@pytest.mark.root
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_lost_is_replaced(signum, monkeypatch):
    monkeypatch.setattr(nursery, "_WAIT_SECONDS", 0.1)
    with a_nursery() as made:
        lost = made._pid
        os.kill(lost, signum)
        until(lambda: signum == signal.SIGSTOP or not alive(lost))
        pid, control = fork(made)
        control.close()
        assert pid == 0  # the daemon forks itself then
        assert not os.path.exists(f"/proc/{lost}")
        monkeypatch.setattr(nursery, "_WAIT_SECONDS", 20)
        pid, control = fork(made)
        assert pid
        end(pid, control)


@pytest.mark.root
def test_what_it_has_forked_unheard_is_ended_with_it():
    with a_nursery() as made:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(made._orders, [nursery.encode(order(theirs))], [theirs.fileno(), 0, 1, 2])
            assert select.select([made._orders], [], [], 10)[0]
            made.close()
            assert not forked()


@pytest.mark.root
def test_who_was_forked_is_not_lost_with_a_nursery_that_is_killed_in_the_same_moment(monkeypatch):
    def fork_and_die(cgroup):
        pid = fork_sibling(cgroup)
        if pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return pid

    monkeypatch.setattr(nursery, "fork_sibling", fork_and_die)
    with a_nursery() as made:
        lost = made._pid
        pid, control = fork(made)
        assert parent(pid) == os.getpid()
        end(pid, control)
        until(lambda: not alive(lost))
        pid, control = fork(made)
        control.close()
        assert pid == 0
        assert not forked()


@pytest.mark.root
def test_other_backends_have_another_nursery():
    with a_nursery() as made:
        before = made._pid
        end(*fork(made, backends=Backends(())))
        assert forked() == [made._pid] != [before]


@pytest.mark.root
def test_the_end_of_the_daemon_is_that_of_the_nursery():
    pid = os.fork()
    if pid == 0:
        Nursery().start(BACKENDS)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    (theirs,) = children(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not alive(theirs))
