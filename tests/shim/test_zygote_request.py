"""The request as it travels, and which zygote it goes to."""

import os
import subprocess
import sys

import pytest

from pelagos_core.shim import zygote_request
from pelagos_core.shim.zygote_request import Request

PATH = [sys.executable, "-c", "from pelagos_core.shim.zygote_request import socket_path; print(socket_path())"]


def request(**fields):
    made = Request(["shim", "-id", "a b", ""], {"PATH": "/bin", "EMPTY": "", "ODD": "x=y\udcff"})
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_request_arrives_as_it_was_sent():
    sent = request(umask=0o22, oom_score_adj="-998\n", cgroups="1:cpu:/a\n0::/b\n", limits="Max open files  1 2\n")
    got = zygote_request.decode(sent.encode())
    assert [getattr(got, name) for name in Request.__slots__] == [getattr(sent, name) for name in Request.__slots__]


@pytest.mark.parametrize("datagram", [b"", b"\0", b"x\0" * 5, b"1\0\x001\0\0\0many\0", b"\xff" * 100])
def test_what_is_no_request_is_a_value_error(datagram):
    with pytest.raises(ValueError, match=r"."):
        zygote_request.decode(datagram)


def test_there_is_one_for_what_cannot_be_handed_over(monkeypatch):
    monkeypatch.setenv("PELAGOS_ZYGOTE", "/z")
    monkeypatch.delenv("PELAGOS_CONFIG", raising=False)
    path = zygote_request.socket_path()
    assert os.path.dirname(path) == "/z"
    assert zygote_request.socket_path() == path
    monkeypatch.setenv("TTRPC_ADDRESS", "/containerd.sock.ttrpc")  # part of a request
    assert zygote_request.socket_path() == path
    monkeypatch.setenv("PELAGOS_CONFIG", "/other.toml")  # with it other backends are loaded
    assert zygote_request.socket_path() != path


@pytest.mark.root
@pytest.mark.parametrize("enter", [["unshare", "--mount"], ["unshare", "--net"], ["setpriv", "--no-new-privs"]])
def test_another_namespace_and_fewer_privileges_have_another(enter):
    assert subprocess.check_output([*enter, *PATH]) != subprocess.check_output(PATH)
    assert subprocess.check_output(PATH) == subprocess.check_output(PATH)


@pytest.mark.parametrize("directory", ["off", "/x" * 30])
def test_off_and_too_long_mean_none(monkeypatch, directory):
    monkeypatch.setenv("PELAGOS_ZYGOTE", directory)
    assert zygote_request.socket_path() == ""


def test_a_file_that_cannot_be_read_is_empty(tmp_path):
    assert zygote_request.read(str(tmp_path / "none")) == ""
    assert zygote_request.read(str(tmp_path)) == ""
    assert "Max open files" in zygote_request.read("/proc/self/limits")


def test_what_a_child_inherits_is_reported():
    umask = os.umask(0o27)
    try:
        told = zygote_request.own_request(["start"])
        assert (told.words, told.umask) == (["start"], 0o27)
        assert os.umask(0o27) == 0o27
    finally:
        os.umask(umask)
    with open("/proc/self/cgroup") as file:
        assert told.cgroups == file.read()
    assert "Max open files" in told.limits


def test_what_a_daemon_has_of_the_environment_holds_no_credentials(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("TTRPC_ADDRESS", "/c.ttrpc")
    kept = zygote_request.kept_environment()
    assert kept["TTRPC_ADDRESS"] == "/c.ttrpc"
    assert "AWS_SECRET_ACCESS_KEY" not in kept
