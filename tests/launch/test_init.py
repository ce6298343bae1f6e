"""What an init process sends to the daemon while it is launched, and in which order; without isolation."""

import os
import socket
from types import SimpleNamespace

import pytest

from pelagos_core.backends.selection import Selection
from pelagos_core.cache.known_module import KnownModule
from pelagos_core.launch import init, messages
from pelagos_core.launch.init import LaunchRequest
from pelagos_core.launch.messages import Asking, Created, Learnt, Wanted
from pelagos_core.linux.descriptor import Fd
from pelagos_core.plugin import digest
from pelagos_core.plugin.hookspecs import Detection
from pelagos_core.plugin.limits import Limits
from tests.backends.test_registry import bundle, load, plugin, scoring
from tests.cache.test_known_module import COMMAND, entrypoint
from tests.support.child import in_child

NO_STEPS = SimpleNamespace(complete=(), seal=())
PLAN = SimpleNamespace(outside=(), second_stage=None, assemble=(), cgroup=None, of=lambda kind: NO_STEPS)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Prepares a guest with these backends, and gives the messages that were sent; and the digest of its module.

    code: a directory, as if with compiled code.
    """
    file = entrypoint(tmp_path, COMMAND)
    monkeypatch.setattr(init.lookup, "find", lambda *_: file)
    monkeypatch.setattr(init, "_narrowed", lambda file, *_: file)

    def prepared(found, code=None, **fields):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if code is not None:  # the answer, before it is asked for
            with Fd(os.open(code, os.O_RDONLY)) as directory:
                socket.send_fds(ours, [messages.CODE], [directory])

        def child():
            os.dup2(file.file, 100)
            os.dup2(theirs.fileno(), 101)
            os.dup2(101, init._CONTROL)
            state = SimpleNamespace(root=None, descriptors={})
            init.lookup.find = lambda *_: type(file)(**{**vars(file), "file": 100})
            order = LaunchRequest(bundle(), PLAN, theirs, (0, 1, 2), Selection(found), Limits(), **fields)
            init._prepare(order, state)

        with ours, theirs:
            in_child(child)
            theirs.close()
            return [messages.decode(data) for data in iter(lambda: ours.recv(messages.MAX_BYTES), b"")]

    return prepared, digest.sha256(file.file)


def test_what_is_learnt_is_reported_before_an_engine_sees_the_module(told):
    prepared, sha256 = told
    said = prepared(load(a=scoring(90), b=scoring(10)), learns=True)
    answers = {"a": Detection(90, "score 90"), "b": Detection(10, "score 10")}
    known = KnownModule(("_start",), memories=(2 << 16,), detections=answers, settings={"a": None})
    asked = [Asking("a", "detect"), Asking("b", "detect"), Learnt(sha256, known), Asking("a", "spawn")]
    assert said == [*asked, Created("a", "score 90; best of a, b", False)]


def test_nothing_is_reported_reported(told):
    prepared, _ = told
    said = prepared(load(a=scoring(90)))
    assert [type(message) for message in said] == [Asking, Asking, Created]


def test_nothing_is_reported_of_a_module_that_must_not_be_stored(told):
    prepared, _ = told
    answer = Detection(90, "by its name", kept=False)
    said = prepared(load(a=plugin(detect=lambda: answer)), learns=True)
    assert [type(message) for message in said] == [Asking, Asking, Created]


def test_the_part_of_the_key_is_learnt_before_code_is_asked_for(told, tmp_path):
    prepared, sha256 = told
    compiling = plugin(code_key=lambda: "fuel", compile=lambda: b"code")
    said = prepared(load(a=compiling), code=tmp_path, learns=True)
    kinds = [Asking("a", "code_key"), Learnt, Wanted("a", "/x", sha256, "fuel"), Asking("a", "spawn")]
    assert [Learnt if isinstance(message, Learnt) else message for message in said[1:-1]] == kinds
    assert said[2].known.settings == {"a": "fuel"}
