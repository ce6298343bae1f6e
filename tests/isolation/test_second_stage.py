"""The second process of a container with a user namespace: made, mapped, and reported."""

import contextlib
import gc
import os
import signal
import socket
import threading

import pytest

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.isolation.state import CONTROL, State
from pelagos_core.launch import messages
from pelagos_core.oci import IdMap, IdMaps, Namespace
from pelagos_core.rootfs.root import Root
from tests.support.absent import ABSENT
from tests.support.child import in_child

pytestmark = [pytest.mark.root]

NEW, PID = Namespace("user"), Namespace("pid")
MAPS = IdMaps((IdMap(0, 100000, 1000), IdMap(1000, 7000, 1)), (IdMap(0, 200000, 65536),))


class Pair:
    """A first process, which carries the step out, and what it leaves: our end of its socket, and its children."""

    def __init__(self, step, then, before):
        """before: what the first process does. then: what the second process sends when it goes on."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.first = os.fork()
        if self.first == 0:
            try:
                self.control.close()
                before()
                execute([step], State(Root(ABSENT), {CONTROL: theirs.fileno()}))
                theirs.send(repr(then()).encode())
            finally:
                os._exit(7)
        theirs.close()
        self.control.settimeout(10)

    def second(self):
        return messages.decode(self.control.recv(1000)).pid

    def close(self):
        self.control.close()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


@pytest.fixture
def pair():
    made = []

    def make(step, then=os.getpid, before=lambda: None):
        made.append(Pair(step, then, before))
        return made[-1]

    yield make
    for each in made:
        each.close()


def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_second_process_continues_with_its_own_ids_after_the_message(pair):
    def maps():
        with open("/proc/thread-self/uid_map") as users, open("/proc/thread-self/gid_map") as groups:
            return os.getpid(), users.read().split(), groups.read().split()

    both = pair(SecondStageClone(NEW, MAPS, None), maps)
    second = both.second()
    assert second != both.first
    assert code(both.first) == 0
    both.control.send(messages.GO)
    wanted = (second, ["0", "100000", "1000", "1000", "7000", "1"], ["0", "200000", "65536"])
    assert both.control.recv(1000) == repr(wanted).encode()
    assert code(second) == 7  # a child of ours


def test_it_is_the_first_of_a_pid_namespace(pair):
    both = pair(SecondStageClone(NEW, MAPS, PID))
    both.second()
    both.control.send(messages.GO)
    assert both.control.recv(1000) == b"1"


def test_the_interpreter_is_as_after_a_fork(pair):
    forked = []

    def register():
        os.register_at_fork(after_in_child=lambda: forked.append(os.getpid()))

    def then():
        thread = threading.Thread(target=forked.append, args=("thread",))
        thread.start()
        thread.join()
        gc.collect()
        return forked, threading.main_thread().ident == threading.get_ident(), in_child(lambda: 5)

    both = pair(SecondStageClone(NEW, MAPS, None), then, register)
    second = both.second()
    both.control.send(messages.GO)
    told = both.control.recv(1000).decode()
    assert told.endswith(f"{second}, 'thread'], True, 5)")


def test_a_given_namespace_is_entered(pair):
    both = pair(SecondStageClone(NEW, MAPS, PID), signal.pause)
    given = both.second()
    both.control.send(messages.GO)
    user, pid = (Namespace(kind, f"/proc/{given}/ns/{kind}") for kind in ("user", "pid"))
    joining = pair(SecondStageClone(user, IdMaps(), pid), lambda: (os.getpid(), os.readlink("/proc/self/ns/user")))
    joining.second()
    joining.control.send(messages.GO)
    link = os.readlink(f"/proc/{given}/ns/user")
    assert joining.control.recv(1000).endswith(f", '{link}')".encode())
    os.kill(given, signal.SIGKILL)


def test_a_second_process_that_the_daemon_does_not_hear_of_ends(pair):
    both = pair(SecondStageClone(NEW, MAPS, None))
    second = both.second()
    both.control.close()
    assert (code(both.first), code(second)) == (0, 1)


def test_a_map_that_the_kernel_refuses_is_named_and_no_process_is_left():
    def run():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        maps = IdMaps((IdMap(0, 1, 1), IdMap(0, 5, 1)), (IdMap(0, 0, 1),))
        try:
            execute([SecondStageClone(NEW, maps, None)], State(Root(ABSENT), {CONTROL: theirs.fileno()}))
        finally:
            os.set_blocking(ours.fileno(), False)
            with pytest.raises(BlockingIOError):
                ours.recv(1)

    with pytest.raises(PermissionDenied, match=r"uid_map '0 1 1\\n0 5 1': Invalid argument"):
        in_child(run)
    _, status = os.waitpid(-1, 0)  # the second one, which is ours
    assert os.waitstatus_to_exitcode(status) == 1


def test_a_namespace_that_cannot_be_joined_is_named():
    step = SecondStageClone(Namespace("user", "/proc/self/ns/net"), IdMaps(), Namespace("pid", "/proc/self/ns/pid"))
    with pytest.raises(InvalidArgument, match="user namespace '/proc/self/ns/net': Invalid argument"):
        in_child(lambda: execute([step], State(Root(ABSENT))))
