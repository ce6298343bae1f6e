"""The directory of a run as its command has it: how its shim is started, what the log shows, what is cleaned up."""

import os
import time
from types import SimpleNamespace

import pytest

from pelagos_core.cli import workspace
from pelagos_core.cli.waiting import Waiting
from pelagos_core.cli.workspace import DaemonLog, Workspace
from pelagos_core.daemon import runs
from pelagos_core.errors import Internal
from pelagos_core.shim.zygote_client import FAILED, STARTED


def test_the_log_tells_which_backend_compiles(tmp_path):
    progress = SimpleNamespace(doing="")
    with Waiting() as waiting:
        log = DaemonLog(str(tmp_path), "x.wasm", progress, waiting)
        with open(tmp_path / "log", "w") as daemon:
            daemon.write("level=info msg=\"/x.wasm: compiling for backend 'my.engine_2'\"\n")
        waiting.look()
        assert progress.doing == "compiling x.wasm for my.engine_2"
        waiting.look()  # its end
        log.close()
        log.close()


def test_what_another_command_cleans_up_at_the_same_time_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "run-1" / "bundle").mkdir(parents=True)
    before = workspace._shim

    def late(action, directory):
        (tmp_path / "run-1" / "bundle").rmdir()
        return before(action, directory)

    monkeypatch.setattr(workspace, "_shim", late)
    workspace.clean_up(str(tmp_path / "run-1"))
    assert not (tmp_path / "run-1").exists()


class Zygote:
    """In place of a question to it: what it would answer."""

    def __init__(self, outcome, address=b""):
        self.answered = 0
        self._answer = outcome, address

    def __call__(self, path, request, directory):
        self.request, self.directory = request, directory
        return self

    def answer(self):
        self.answered += 1
        return self._answer


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace.zygote_request, "socket_path", lambda: "/z")
    with Waiting() as waiting:
        made = Workspace(str(tmp_path), runs.new(("x.wasm",)), waiting)
        made.prepare()
        yield made
        os.close(made._alive)


def executed(monkeypatch, code):
    """Have this shell command executed in place of the shim's program."""
    monkeypatch.setattr(workspace.sys, "executable", "/bin/sh")
    monkeypatch.setattr(workspace.launcher, "FLAGS", "-e")
    monkeypatch.setattr(workspace.launcher, "body", lambda: code)


def test_the_zygote_is_asked_for_what_the_shims_program_would_be(made, monkeypatch):
    zygote = Zygote(STARTED, b"unix:///somewhere")
    monkeypatch.setattr(workspace, "Question", zygote)
    monkeypatch.setenv("TTRPC_ADDRESS", "/of/containerd")
    made.start_shim()
    assert zygote.request.words[-3:] == ["-owner", made.directory, "start"]
    assert zygote.request.environment["PELAGOS_SOCKET_DIR"] == made.directory
    assert "TTRPC_ADDRESS" not in zygote.request.environment
    assert zygote.directory == made.bundle
    assert made._started_by_the_zygote() == "/somewhere"


@pytest.mark.parametrize("path", ["/z", ""])
def test_without_the_zygotes_answer_the_program_is_executed(made, monkeypatch, path):
    monkeypatch.setattr(workspace.zygote_request, "socket_path", lambda: path)
    monkeypatch.setattr(workspace, "Question", Zygote(FAILED))
    executed(monkeypatch, "pwd; echo unix:///there")
    made.start_shim()
    assert made._started_by_the_zygote() == ""
    assert made._executed() == f"{made.bundle}\nunix:///there"


def test_what_the_program_says_is_its_error(made, monkeypatch):
    executed(monkeypatch, "echo no place >&2; exit 1")
    with pytest.raises(Internal, match="the shim did not start: no place"):
        made._executed()


def test_a_signal_does_not_leave_a_program_in_a_directory_that_is_removed(made, monkeypatch):
    executed(monkeypatch, "sleep 0.3; echo > done")

    def ended():
        raise KeyboardInterrupt

    made._waiting.after(0.01, ended)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made._executed()
    assert time.monotonic() - began >= 0.2
    assert os.path.exists(f"{made.bundle}/done")


def test_a_directory_is_left_only_when_the_zygote_has_answered(tmp_path, monkeypatch):
    zygote = Zygote(STARTED, b"unix:///somewhere")
    monkeypatch.setattr(workspace, "Question", zygote)
    monkeypatch.setattr(workspace.zygote_request, "socket_path", lambda: "/z")
    with Waiting() as waiting, Workspace(str(tmp_path), runs.new(("x.wasm",)), waiting) as made:
        made.prepare()
        made.start_shim()
    assert zygote.answered == 1
    assert not os.path.exists(made.directory)
