"""New namespaces, given ones, and children forked into them."""

import os
import socket

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import namespaces
from tests.support.child import in_child

pytestmark = [pytest.mark.root]


def of(kind):
    return os.readlink(f"/proc/self/ns/{kind}")


def test_unshare_makes_new_ones_and_leaves_the_others():
    def run():
        before = {kind: of(kind) for kind in ("uts", "ipc", "net", "mnt")}
        namespaces.unshare(["uts", "network"])
        return {kind for kind, link in before.items() if of(kind) != link}

    assert in_child(run) == {"uts", "net"}


def test_a_namespace_is_joined_by_its_path():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        namespaces.unshare(["uts"])
        socket.sethostname("elsewhere")
        os.write(writer, b"x")
        os.read(os.pipe()[0], 1)
    os.read(reader, 1)

    def run():
        namespaces.join("uts", f"/proc/{pid}/ns/uts")
        return socket.gethostname()

    try:
        assert in_child(run) == "elsewhere"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("path", ["/proc/none", "/etc/passwd", "/proc/self/ns/net"])
def test_a_path_that_is_no_such_namespace_is_refused_by_name(path):
    with pytest.raises(InvalidArgument, match=f"uts namespace '{path}'"):
        in_child(lambda: namespaces.join("uts", path))


@pytest.mark.parametrize(("where", "pid_inside"), [(None, False), ("", True)])
def test_a_child_is_born_where_it_should_be_and_its_parent_stays(where, pid_inside):
    def run():
        own = of("pid_for_children")
        reader, writer = os.pipe()
        pid = namespaces.fork(where)
        if pid == 0:
            os.write(writer, str(os.getpid()).encode())
            os._exit(3)
        said = int(os.read(reader, 20))
        _, status = os.waitpid(pid, 0)
        return said == pid, said == 1, os.waitstatus_to_exitcode(status), of("pid_for_children") == own

    assert in_child(run) == (not pid_inside, pid_inside, 3, True)


def test_a_child_is_born_into_a_given_pid_namespace():
    def run():
        first = namespaces.fork("")
        if first == 0:
            os.read(os.pipe()[0], 1)
        reader, writer = os.pipe()
        second = namespaces.fork(f"/proc/{first}/ns/pid")
        if second == 0:
            os.write(writer, str(os.getpid()).encode())
            os._exit(0)
        said = int(os.read(reader, 20))
        os.waitpid(second, 0)
        os.kill(first, 9)
        os.waitpid(first, 0)
        third = os.fork()
        if third == 0:
            os._exit(0)
        os.waitpid(third, 0)
        return said

    assert in_child(run) == 2


def test_a_fork_into_a_bad_namespace_fails_and_later_children_are_as_ever():
    def run():
        try:
            namespaces.fork("/proc/none")
        except InvalidArgument:
            pid = namespaces.fork(None)
            if pid == 0:
                os._exit(5)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(run) == 5


def test_an_own_namespace_is_distinguished_from_others(tmp_path):
    assert namespaces.is_own("/proc/self/ns/net")
    assert not namespaces.is_own("/proc/proc/none/such")
    assert not namespaces.is_own(str(tmp_path))

    def run():
        own = os.open("/proc/self/ns/uts", os.O_RDONLY)
        namespaces.unshare(["uts"])
        return namespaces.is_own(f"/proc/self/fd/{own}"), namespaces.is_own("/proc/self/ns/uts")

    assert in_child(run) == (False, True)
