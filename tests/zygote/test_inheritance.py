"""A forked daemon has what a program of `start`'s would have inherited."""

import os
import resource
import uuid

import pytest

from pelagos_core.cgroups.hierarchies import hierarchies
from pelagos_core.shim.zygote_request import decode, own_request
from pelagos_core.zygote import inheritance as surroundings


def in_child(check):
    """Run a check in a child, which may change itself; whatever it raises fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def request_after(prepare):
    """What a `start` sends after it has changed its own attributes."""
    reader, writer = os.pipe()

    def tell():
        prepare()
        os.write(writer, own_request([]).encode())

    in_child(tell)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return decode(pipe.read())


def test_environment_umask_score_and_limits_are_taken_over():
    def prepare():
        os.umask(0o27)
        os.environ["TTRPC_ADDRESS"], os.environ["SECRET"] = "/c.ttrpc", "s"
        resource.setrlimit(resource.RLIMIT_NOFILE, (99, 101))
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")

    request = request_after(prepare)

    def check():
        surroundings.adopt(request)
        assert os.environ["TTRPC_ADDRESS"] == "/c.ttrpc"
        assert "SECRET" not in os.environ
        assert os.umask(0) == 0o27
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (99, 101)
        with open("/proc/self/oom_score_adj") as file:
            assert file.read() == "501\n"

    in_child(check)


def test_a_limit_that_cannot_be_raised_is_an_error():
    request = request_after(lambda: None)

    def check():
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        with pytest.raises((ValueError, OSError)):
            surroundings.adopt(request)

    in_child(check)


@pytest.mark.root
def test_the_groups_are_those_of_start():
    name = f"pelagos-test-{uuid.uuid4().hex[:8]}"
    directory = f"{hierarchies()[0].mount_point}/{name}"
    os.mkdir(directory)

    def prepare():
        with open(f"{directory}/cgroup.procs", "w") as file:
            file.write("0")

    def check():
        surroundings.adopt(request)
        with open("/proc/self/cgroup") as file:
            assert file.read() == request.cgroups

    try:
        request = request_after(prepare)
        assert f":/{name}\n" in request.cgroups
        in_child(check)
    finally:
        os.rmdir(directory)
