"""A JSON value that knows where it stands."""

import json

import pytest

from pelagos_core import oci
from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import field as module
from pelagos_core.oci.field import Field, kept


def field(text):
    return Field.parse("it", text.encode())


def test_what_is_there_is_true_and_what_is_not_reads_as_empty():
    value = field('{"zero": 0, "nothing": null}')
    assert value.get("zero")
    assert not value.get("nothing")
    assert not value.get("absent").get("deeper")
    assert (value.get("absent").text("x"), value.get("absent").number(9), value.get("absent").texts()) == ("x", 0, ())
    assert (value.get("absent").flag(), value.get("absent").table()) == (False, {})


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda value: value.get("a").get("b").number(5), "it: a.b: 6 is not between 0 and 5"),
        (lambda value: value.get("a").get("b").text(), "it: a.b: not a string"),
        (lambda value: value.get("a").get("l").texts(), r"it: a.l\[1\]: not a string"),
        (lambda value: value.get("a").get("t").number(5), "it: a.t: not an integer"),
        (lambda value: value.get("a").get("t").flag() and value.get("a").flag(), "it: a: not true or false"),
        (lambda value: value.get("a").table(), r"it: a\['b'\]: not a string"),
        (lambda value: value.get("a").refuse("no"), "it: a: no"),
    ],
)
def test_an_error_names_the_value(read, message):
    with pytest.raises(InvalidArgument, match=message):
        read(field('{"a": {"b": 6, "l": ["x", 1], "t": true}}'))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(InvalidArgument, match="it: not JSON"):
        field(text)


@pytest.fixture
def read():
    calls = []

    @kept
    def read(value):
        calls.append(value)
        return value.get("a").text(), len(calls)

    return read


def of(value, name="x"):
    return Field(name, value)


def test_equal_values_are_read_once(read):
    assert read(of({"a": "b", "c": [1]})) == ("b", 1)
    assert read(of(json.loads('{"a": "b", "c": [1]}'))) == ("b", 1)
    for other in ({"a": "b", "c": [1.0]}, {"a": "b", "c": [True]}, {"a": "b", "c": 1}, {"a": "b", "c": ["1"]}, None):
        assert read(of(other))[1] > 1


def test_a_value_that_is_refused_is_refused_each_time_by_its_own_name(read):
    for name in ("x", "y"):
        with pytest.raises(InvalidArgument, match=f"^{name}: a: not a string"):
            read(of({"a": 1}, name))


def test_neither_many_nor_large_values_are_kept(read, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    monkeypatch.setattr(module, "_KEPT_BYTES", 100)
    assert [read(of({"a": text}))[1] for text in "bcdbd"] == [1, 2, 3, 4, 3]
    large = {"a": "b" * 100}
    assert read(of(large))[1] != read(of(large))[1]


def test_containers_with_the_same_mounts_and_limits_share_what_was_read():
    def spec(name):
        mount = {"destination": "/m", "type": "bind", "source": "/s", "options": ["ro"]}
        linux = {"resources": {"memory": {"limit": 1 << 20}}, "namespaces": [{"type": "pid"}]}
        config = {"process": {"args": [name], "cwd": "/", "env": ["A=B"]}, "mounts": [mount], "linux": linux}
        return oci.parse(json.dumps(config).encode())

    one, other = spec("one"), spec("other")
    assert one.mounts[0] is other.mounts[0]
    assert one.resources is other.resources
    assert one.namespaces is other.namespaces
    assert one.process.args == ("one",)
    assert other.process.args == ("other",)
