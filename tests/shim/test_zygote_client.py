"""What `start` tells of itself."""

import os
import socket

from pelagos_core.shim import zygote_client
from pelagos_core.shim.zygote_request import Request


def test_the_peer_is_named_by_the_kernel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    assert zygote_client.peer_uid(ours) == os.geteuid()
    ours.close()
    theirs.close()


def test_a_shim_dies_one_step_before_its_containerd(monkeypatch):
    for own, shim in (("-999\n", -998), ("0\n", 1), ("1000\n", 1000), ("", 1)):
        monkeypatch.setattr(zygote_client, "read", lambda path, own=own: own)
        assert zygote_client.shim_oom_score_adj() == shim


def test_what_a_child_inherits_is_told():
    umask = os.umask(0o27)
    try:
        told = zygote_client.inheritance(Request([], {}))
        assert told.umask == 0o27
        assert os.umask(0o27) == 0o27
    finally:
        os.umask(umask)
    with open("/proc/self/cgroup") as file:
        assert told.cgroups == file.read()
    assert "Max open files" in told.limits


def test_a_score_that_the_kernel_refuses_is_let_pass():
    with open("/proc/self/oom_score_adj") as file:
        before = file.read()
    zygote_client.set_oom_score_adj(5000)
    with open("/proc/self/oom_score_adj") as file:
        assert file.read() == before
