"""The steps into control groups and namespaces, each in a child."""

import os
import socket
import time

import pytest

from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.errors import Internal, InvalidArgument, PermissionDenied
from pelagos_core.isolation.entering import (
    BringLoopbackUp,
    EnterNamespaces,
    EnterTimeNamespace,
    JoinCgroup,
    LeaveNetwork,
    SetDomainName,
    SetHostname,
    SetSysctls,
)
from pelagos_core.linux import syscalls
from pelagos_core.oci import Namespace, TimeOffset
from tests.support.child import in_child
from tests.support.steps import take

pytestmark = [pytest.mark.root]
ALONE = {"propagation": syscalls.MS_PRIVATE}


def of(kind):
    return os.readlink(f"/proc/self/ns/{kind}")


def test_new_ones_are_made_and_the_others_stay():
    def run():
        before = {kind: of(kind) for kind in ("uts", "ipc", "net", "mnt")}
        take(EnterNamespaces((), ("mount", "uts", "network"), **ALONE))
        return {kind for kind, link in before.items() if of(kind) != link}

    assert in_child(run) == {"mnt", "uts", "net"}


@pytest.mark.parametrize("propagation", [syscalls.MS_PRIVATE, syscalls.MS_SHARED])
def test_all_mounts_have_the_propagation_that_is_asked_for(propagation):
    def run():
        take(EnterNamespaces((), ("mount",), propagation=propagation))
        with open("/proc/self/mountinfo") as file:
            return {"shared:" in line for line in file}

    assert in_child(run) == {propagation == syscalls.MS_SHARED}


@pytest.fixture
def elsewhere():
    """The pid of a process in a uts namespace of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        take(EnterNamespaces((), ("mount", "uts"), **ALONE), SetHostname("elsewhere"))
        os.write(writer, b"x")
        os.read(os.pipe()[0], 1)
    os.read(reader, 1)
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("changed", [(), ("uts",)])
def test_a_namespace_is_joined_by_its_path(elsewhere, changed):
    given = Namespace("uts", f"/proc/{elsewhere}/ns/uts")

    def run():
        take(EnterNamespaces((given,), ("mount",), frozenset(changed), **ALONE))
        return socket.gethostname()

    assert in_child(run) == "elsewhere"


@pytest.mark.parametrize("path", ["/proc/none", "/etc/passwd", "/proc/self/ns/net"])
def test_a_path_that_is_no_such_namespace_is_refused_by_name(path):
    good = Namespace("network", "/proc/self/ns/net")
    with pytest.raises(InvalidArgument, match=f"uts namespace '{path}': (No such file|Invalid argument)"):
        in_child(lambda: take(EnterNamespaces((good, Namespace("uts", path)), ("mount",), **ALONE)))


def test_the_hosts_own_one_is_refused_where_it_would_be_changed():
    own = Namespace("uts", "/proc/self/ns/uts")
    in_child(lambda: take(EnterNamespaces((own,), ("mount",), **ALONE)) and None)
    with pytest.raises(InvalidArgument, match="uts namespace '/proc/self/ns/uts' is the host's"):
        in_child(lambda: take(EnterNamespaces((own,), ("mount",), frozenset({"uts"}), **ALONE)))


def test_the_loopback_comes_up():
    def run():
        take(LeaveNetwork(), BringLoopbackUp())
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
        return True

    assert in_child(run)


def test_without_a_network_nothing_is_reached():
    def run():
        take(LeaveNetwork())
        with socket.socket() as client:
            client.connect(("127.0.0.1", 1))

    with pytest.raises(OSError, match="unreachable"):
        in_child(run)


def test_a_new_time_namespace_is_ahead_by_its_offsets():
    def run():
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        take(EnterTimeNamespace((TimeOffset("monotonic", 0), TimeOffset("boottime", 3600, 5))))
        return time.clock_gettime(time.CLOCK_BOOTTIME) - before

    assert 3600 <= in_child(run) < 3660


def test_one_without_offsets_is_a_new_one_too():
    def run():
        before = of("time")
        take(EnterTimeNamespace(()))
        return before != of("time")

    assert in_child(run)


def test_the_names_of_a_host_are_set():
    def run():
        take(EnterNamespaces((), ("mount", "uts"), **ALONE), SetHostname("here"), SetDomainName("there"))
        with open("/proc/sys/kernel/domainname") as file:
            return socket.gethostname(), file.read()

    assert in_child(run) == ("here", "there\n")
    with pytest.raises(Internal, match=r"set the host name x*: Invalid argument"):
        in_child(lambda: take(EnterNamespaces((), ("mount", "uts"), **ALONE), SetHostname("x" * 65)))


@pytest.mark.parametrize("name", ["net.ipv4.ip_forward", "net/ipv4/ip_forward"])
def test_a_parameter_is_set_in_the_own_namespace(name):
    def read():
        with open("/proc/sys/net/ipv4/ip_forward") as file:
            return file.read().strip()

    def run():
        take(LeaveNetwork())
        before = read()
        take(SetSysctls(((name, "1" if before == "0" else "0"),)))
        return before != read()

    outside = read()
    assert in_child(run)
    assert read() == outside


def test_a_parameter_that_cannot_be_set_is_named():
    parameters = (("net.ipv4.ip_forward", "0"), ("net.ipv4.none", "1"))
    with pytest.raises(InvalidArgument, match=r"linux\.sysctl: net\.ipv4\.none = '1': No such file"):
        in_child(lambda: take(LeaveNetwork(), SetSysctls(parameters)))


def test_a_group_that_cannot_be_joined_is_named(tmp_path):
    group = Group(str(tmp_path / "gone"))
    with pytest.raises(PermissionDenied, match=r"cgroup '.*/gone': cannot join: No such file"):
        in_child(lambda: take(JoinCgroup(Cgroup((group,)))))
