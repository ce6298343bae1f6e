"""A user without rights, and the end with the parent."""

import os
import signal

import pytest

from pelagos_core.linux import credentials, syscalls
from pelagos_core.oci import User
from tests.support.child import in_child


def test_a_process_ends_with_its_parent():
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            credentials.die_with_parent(signal.SIGKILL)
            os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    with os.fdopen(reader, "rb") as alive:
        assert alive.read(1) == b"x"
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        # The end of the pipe: the grandchild, its last writer, is gone too.
        assert alive.read() == b""


@pytest.mark.root
def test_a_user_without_rights_is_one_that_the_namespace_has():
    def run():
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        with open("/proc/self/uid_map", "w") as file:
            file.write("0 0 1")
        return credentials.unprivileged()

    assert credentials.unprivileged() == User(65534, 65534)
    assert in_child(run) == User(0, 0)
