"""The command line in Go's manner."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim.flags import parse

CONTAINERD = "-namespace k8s.io -address /c.sock -publish-binary /usr/bin/containerd -id c1 -debug start"


def test_what_containerd_passes_is_understood():
    flags = parse(CONTAINERD.split())
    assert (flags.namespace, flags.address, flags.id) == ("k8s.io", "/c.sock", "c1")
    assert (flags.publish_binary, flags.debug, flags.action) == ("/usr/bin/containerd", True, "start")


@pytest.mark.parametrize("word", ["-bundle=/b", "--bundle=/b", "-bundle /b", "--bundle /b"])
def test_a_value_may_stand_behind_an_equals_sign(word):
    assert parse([*word.split(), "delete"]).bundle == "/b"


@pytest.mark.parametrize(
    ("word", "value"), [("-debug", True), ("-debug=true", True), ("-debug=false", False), ("-debug=0", False)]
)
def test_a_switch_needs_no_value(word, value):
    flags = parse([word, "start"])
    assert (flags.debug, flags.action) == (value, "start")


def test_nothing_is_nothing():
    assert parse([]).action == ""
    assert parse(["-v"]).version
    assert parse(["-info"]).info


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-moon", "start"], "flag provided but not defined: -moon"),
        (["-id"], "flag needs an argument: -id"),
        (["start", "now"], "unexpected argument: now"),
    ],
)
def test_a_mistake_is_named(words, message):
    with pytest.raises(InvalidArgument, match=message):
        parse(words)
