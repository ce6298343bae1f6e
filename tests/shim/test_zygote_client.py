"""What is asked of the zygote, and what is taken for an answer."""

import os
import socket
import tempfile
import threading

import pytest

from pelagos_core.shim import zygote_client
from pelagos_core.shim.zygote_request import Request


def test_the_peer_is_named_by_the_kernel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    assert zygote_client.peer_uid(ours) == os.geteuid()
    ours.close()
    theirs.close()


def test_a_shim_dies_one_step_before_its_containerd():
    for own, shim in (("-999\n", -998), ("0\n", 1), ("1000\n", 1000), ("", 1)):
        assert zygote_client.shim_oom_score_adj(own) == shim


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"kunix:///s/1", (zygote_client.STARTED, b"unix:///s/1")),
        (b"r", (zygote_client.DECLINED, b"")),
        (b"s", (zygote_client.FAILED, b"")),
        (b"", (zygote_client.FAILED, b"")),
        (b"kgarbage", (zygote_client.FAILED, b"")),
        (b"rr" * 9000, (zygote_client.FAILED, b"")),
    ],
)
def test_an_answer_is_an_address_or_none(tmp_path, answer, outcome):
    with tempfile.TemporaryDirectory(prefix="pelagos-") as directory:
        path = f"{directory}/z"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=_answer, args=(listener, answer))
            thread.start()
            assert zygote_client.ask(path, Request(["start"], {}), str(tmp_path)) == outcome
            thread.join()


def _answer(listener, answer):
    peer, _ = listener.accept()
    with peer:
        peer.recv(1 << 16)
        if answer:
            peer.send(answer)


def test_a_score_that_the_kernel_refuses_is_let_pass():
    with open("/proc/self/oom_score_adj") as file:
        before = file.read()
    zygote_client.set_oom_score_adj(5000)
    with open("/proc/self/oom_score_adj") as file:
        assert file.read() == before
