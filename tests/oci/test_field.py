"""A JSON value that knows where it stands."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci.field import Field


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
