"""What annotations say to one container of a pod."""

import logging

import pytest

from pelagos_core.backends.annotations import narrowed, opinions
from pelagos_core.config.policy import EVERYTHING, WORDS, Directory
from pelagos_core.errors import InvalidArgument

P = "io.pelagos.wasm."
GOOD = {"dirs": "/a", "env": "A", "network": "none", "stdin": "none", "deadline": "1s", "fuel": "9", "seccomp": "spec",
        "http-address": "1.2.3.4:5", "http-log": "prefixed", "http-timeout": "1s", "scale-to-zero": "1s"}  # fmt: skip


def policy(own, pod, name="app"):
    return narrowed(EVERYTHING, opinions(own, pod, name))


@pytest.mark.parametrize("word", WORDS)
def test_every_word_may_name_the_container_that_it_is_for(word):
    pod = {f"{P}{word}.app": GOOD[word]}
    assert policy({}, pod) == EVERYTHING.narrowed({word: GOOD[word]}, str)
    assert policy({}, pod, "side") == policy({}, pod, "") == EVERYTHING


def test_all_that_is_said_holds_together():
    pod = {f"{P}env": "A,B,C", f"{P}env.app": "A,B", f"{P}deadline.app": "10s", f"{P}deadline": "5s"}
    found = policy({f"{P}env": "B,C", f"{P}deadline": "1h"}, pod)
    assert (found.env, found.deadline) == ({"B"}, 5)


def test_what_containerd_copies_into_a_containers_spec_is_said_once():
    pod = {f"{P}dirs": "/a", f"{P}dirs.app": "/a/b"}
    assert policy(pod, pod).directories == ((Directory("/a"),), (Directory("/a/b"),))
    assert policy({**pod, f"{P}dirs": "/"}, pod).directories[-1] == (Directory("/"),)


def test_what_is_said_to_another_container_of_the_pod_is_no_error_here(caplog):
    caplog.set_level(logging.DEBUG)
    pod = {f"{P}deadline.other": "soon", f"{P}runtime.no-such": "wasmedge"}
    assert policy(pod, pod) == EVERYTHING
    assert "annotation 'io.pelagos.wasm.deadline.other' is not for container 'app'" in caplog.text
    with pytest.raises(InvalidArgument, match=r"annotation 'io\.pelagos\.wasm\.deadline\.other': 'soon' is not"):
        policy(pod, pod, "other")


@pytest.mark.parametrize("name", ["app", "other"])
@pytest.mark.parametrize("key", ["netwrok", "backend", "Dirs", "io"])
def test_an_unknown_word_is_an_error_whomever_it_is_for(key, name):
    for own, pod in (({f"{P}{key}.{name}": "x"}, {}), ({}, {f"{P}{key}.{name}": "x"})):
        with pytest.raises(InvalidArgument, match=rf"annotation '{P}{key}\.{name}': unknown \(known: deadline, "):
            opinions(own, pod, "app")


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "é"])
def test_what_follows_a_word_is_the_name_of_a_container(name):
    with pytest.raises(InvalidArgument, match="is not the name of a container"):
        opinions({f"{P}env.{name}": "A"}, {}, name)
    assert opinions({f"{P}env.{'a' * 63}": "A"}, {}, "a" * 63)
