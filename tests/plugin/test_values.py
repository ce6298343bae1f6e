"""Arguments and results of a core module's function as words."""

import math
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import values
from pelagos_core.plugin.interface import Export

ADD = Export("add", "function", "(i32, i32) -> (i32)")


def takes(kind):
    return Export("f", "function", f"({kind}) -> ()")


def converted(kind, word):
    (argument,) = values.convert(takes(kind), [word]).arguments
    return argument


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        ("i32", "0", 0),
        ("i32", "-1", -1),
        ("i32", "+7", 7),
        ("i32", "007", 7),
        ("i32", "2147483647", 2147483647),
        ("i32", "-2147483648", -2147483648),
        ("i32", "4294967295", -1),
        ("i32", "0xff", 255),
        ("i32", "-0x10", -16),
        ("i64", "9007199254740993", 2**53 + 1),
        ("i64", "18446744073709551615", -1),
        ("i64", "-9223372036854775808", -(2**63)),
        ("i64", "0" * 5000 + "1", 1),
        ("f64", "1", 1.0),
        ("f64", "-.5e-3", -0.0005),
        ("f64", "5.", 5.0),
        ("f64", "-inf", -math.inf),
        ("f64", "Infinity", math.inf),
        ("f32", "0.1", 0.10000000149011612),
        ("f32", "1e300", math.inf),
        ("f32", "-1e300", -math.inf),
    ],
)
def test_a_word_is_a_number_of_its_type(kind, word, value):
    assert converted(kind, word) == value


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("word", ["nan", "NaN", "-nan"])
def test_a_float_may_be_no_number(kind, word):
    assert math.isnan(converted(kind, word))


def test_zero_keeps_its_sign():
    assert math.copysign(1, converted("f64", "-0")) == -1


@pytest.mark.parametrize(
    ("kind", "word", "why"),
    [
        ("i32", "", "is no i32"),
        ("i32", "x", "is no i32"),
        ("i32", "1.0", "is no i32"),
        ("i32", "1_0", "is no i32"),
        ("i32", " 1", "is no i32"),
        ("i32", "\uff11", "is no i32"),
        ("i32", "--1", "is no i32"),
        ("i32", "0x", "is no i32"),
        ("i32", "4294967296", "is too large for an i32"),
        ("i32", "-2147483649", "is too large for an i32"),
        ("i64", "18446744073709551616", "is too large for an i64"),
        ("i64", "9" * 100_000, "is too large for an i64"),
        ("f64", "", "is no f64"),
        ("f64", "1e", "is no f64"),
        ("f64", ".", "is no f64"),
        ("f64", "0x1p3", "is no f64"),
        ("f32", "nano", "is no f32"),
        ("f32", "1\n", "is no f32"),
    ],
)
def test_a_word_that_is_none_is_refused_by_name(kind, word, why):
    with pytest.raises(InvalidArgument) as raised:
        converted(kind, word)
    text = raised.value.message
    assert text.startswith(f"has the function f({kind}): argument 1, ")
    assert text.endswith(f", {why}")
    assert (raised.value.reason, text.isprintable(), len(text) < 200) == (reasons.ARGUMENTS, True, True)


@pytest.mark.parametrize(("words", "given"), [([], "none"), (["1"], "1"), (["1", "2", "3"], "3")])
def test_too_many_words_or_too_few_are_refused(words, given):
    text = f"has the function add(i32, i32) -> i32, which takes 2 arguments, and is given {given}"
    with pytest.raises(InvalidArgument, match=re.escape(text)):
        values.convert(ADD, words)


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("() -> ()", "f()"),
        ("(i32) -> ()", "f(i32)"),
        ("() -> (i64)", "f() -> i64"),
        ("(i32, f32) -> (i32, i64)", "f(i32, f32) -> (i32, i64)"),
        ("", "f()"),
    ],
)
def test_a_function_is_reported_with_its_type(signature, text):
    assert values.described(Export("f", "function", signature)) == text


def test_a_type_without_end_is_reported_in_part():
    many = Export("f" * 1000, "function", f"({', '.join(['i32'] * 1000)}) -> ()")
    assert len(values.described(many)) < 600


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        ("i32", -1, "-1"),
        ("i32", 4294967295, "-1"),
        ("i64", 2**53 + 1, "9007199254740993"),
        ("f64", 1.0, "1"),
        ("f64", -0.0, "-0"),
        ("f64", 0.1, "0.1"),
        ("f64", 1e21, "1000000000000000000000"),
        ("f64", 5e-324, "0." + "0" * 323 + "5"),
        ("f64", math.nan, "NaN"),
        ("f64", -math.inf, "-inf"),
        ("f32", 0.10000000149011612, "0.1"),
        ("f32", 3.4028234663852886e38, "34028235" + "0" * 31),
        ("f32", 16777216.0, "16777216"),
    ],
)
def test_a_value_is_written_as_rust_displays_it(kind, value, word):
    assert values.word(kind, value) == word


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_a_float_is_read_back_as_it_was(value):
    assert values.read_float(values.word("f64", value), is_single=False) == value


@given(st.floats(allow_nan=False, width=32))
@settings(deadline=None)
def test_a_float_of_32_bits_is_read_back_as_it_was(value):
    assert values.read_float(values.word("f32", value), is_single=True) == value


@given(st.integers(-(2**63), 2**64 - 1))
@settings(deadline=None)
def test_an_integer_comes_back_with_its_sign(value):
    assert int(values.word("i64", converted("i64", str(value)))) % 2**64 == value % 2**64


def test_results_go_to_stdout_a_line_each(capfd):
    call = values.Call("f", results=("i32", "f64"))
    assert call.show([-1, 0.5]) == 0
    assert capfd.readouterr().out == "-1\n0.5\n"


def test_a_result_that_cannot_be_written_is_reported(capfd):
    kept, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        assert values.show("x\n") == 1
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(full)
    assert capfd.readouterr().err == "pelagos: the result cannot be written: No space left on device\n"
