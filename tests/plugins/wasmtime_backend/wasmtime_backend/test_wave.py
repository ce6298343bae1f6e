"""Values of components as text: read, given to a real function and taken back, and written."""

import math
import re

import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wasmtime import component

from tests.support.component_text import MEMORY
from wasmtime_backend import component_values, interface, wave, wit

# A function that returns the list that it is given, whatever is in it.
ECHO = """(component
  (core module $m
MEMORY
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
  (core instance $i (instantiate $m))
  TYPES
  (func (export "echo") (param "x" (list TYPE)) (result (list TYPE))
    (canon lift (core func $i "echo") (memory (core memory $i "memory"))
      (realloc (core func $i "realloc")))))""".replace("MEMORY", MEMORY)
NAMED = """(type $named' NAMED) (export $named "named" (type $named'))"""


class Echo:
    """A component with the function, of elements of one type in the notation of text."""

    def __init__(self, kind):
        is_named = kind.split(" ")[0] in ("(record", "(variant", "(enum", "(flags")
        types = NAMED.replace("NAMED", kind) if is_named else ""
        text = ECHO.replace("TYPES", types).replace("TYPE", "$named" if is_named else kind)
        config = wasmtime.Config()
        config.wasm_component_model, config.parallel_compilation = True, False
        self._engine = wasmtime.Engine(config)
        self._program = component.Component(self._engine, wasmtime.wat2wasm(text))
        self.function = interface.function(self._engine, self._program, ["echo"])
        ((_, self.list),) = self.function.params
        self.kind = self.list.element

    def call(self, value):
        store = wasmtime.Store(self._engine)
        instance = component.Linker(self._engine).instantiate(store, self._program)
        function = instance.get_func(store, instance.get_export_index(store, "echo"))
        (returned,) = component_values.call(store, function, [self.list], [[value]])
        return returned


RECORD = '(record (field "a-b" u32) (field "c" (option string)))'
VARIANT = '(variant (case "number" u32) (case "truth" bool) (case "some") (case "text" string))'
# The type, a text of a value, and how that is written; None: as it is.
VALUES = [
    ("bool", "true", None),
    ("bool", " false // a comment", "false"),
    ("s8", "-128", None),
    ("u8", "255", None),
    ("s16", "-32768", None),
    ("u16", "65535", None),
    ("s32", "-2147483648", None),
    ("u32", "4294967295", None),
    ("s64", "-9223372036854775808", None),
    ("u64", "18446744073709551615", None),
    ("u64", "9007199254740993", None),
    ("float32", "0.1", None),
    ("float32", "nan", None),
    ("float64", "-inf", None),
    ("float64", "6.02e+3", "6020"),
    ("float64", "1", None),
    ("char", "'x'", None),
    ("char", r"'\u{1F600}'", "'😀'"),
    ("char", r"'\''", None),
    ("string", '""', None),
    ("string", r'"a\t\"\\\n\r\'\u{7}"', None),
    ("string", '"é 😀 \u0301"', r'"é 😀 \u{301}"'),
    ("(list u8)", "[1, 2, 255,]", "[1, 2, 255]"),
    ("(list string)", "[]", None),
    ("(tuple u32 string)", '( 1 ,"x" )', '(1, "x")'),
    (RECORD, '{a-b: 1, c: some("x")}', None),
    (RECORD, '{c: "x", a-b: 1}', '{a-b: 1, c: some("x")}'),
    (RECORD, "{a-b: 1}", None),
    ('(record (field "o" (option u32)))', "{:}", None),
    (VARIANT, "number(3)", None),
    (VARIANT, "truth(true)", None),
    (VARIANT, "%some", None),
    (VARIANT, 'text("x")', None),
    ('(enum "north" "ok")', "north", None),
    ('(enum "north" "ok")', "%ok", None),
    ("(option u32)", "none", None),
    ("(option u32)", "some(1)", None),
    ("(option u32)", "1", "some(1)"),
    ("(option (option u32))", "some(none)", None),
    ("(option (option u32))", "none", None),
    ("(result u32 (error string))", 'err("no")', None),
    ("(result u32 (error string))", "7", "ok(7)"),
    ("(result)", "ok", None),
    ("(result)", "err", None),
    ("(result (error u8))", "err(3)", None),
    ("(result (option u8))", "ok(none)", None),
    ('(flags "read" "write" "true")', "{write, read}", "{read, write}"),
    ('(flags "read" "write")', "{}", None),
]


@pytest.mark.parametrize(("kind", "text", "written"), VALUES)
def test_a_value_goes_to_a_function_and_comes_back(kind, text, written):
    echo = Echo(kind)
    value = echo.call(wave.read(echo.kind, text))
    assert wave.write(echo.kind, value) == (text if written is None else written)


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("bool", "1", "is no bool: true or false"),
        ("u8", "256", "is out of the range of u8: 0 to 255"),
        ("u8", "-1", "is out of the range of u8: 0 to 255"),
        ("u32", "1.5", "is no u32"),
        ("u64", "9" * 50, "is no u64"),
        ("u32", "1 2", "has '2' after its end"),
        ("float64", "x", "is no f64"),
        ("char", "''", "is no char: it has 0 of them"),
        ("char", "'ab'", "is no char: it has 2 of them"),
        ("char", r"'\u{d800}'", "has "),
        ("string", "x", "is no string in quotes"),
        ("string", '"x', 'ends where the end of the text, a " is expected'),
        ("string", r'"\q"', "has"),
        ("string", '"""x"""', "is a string of several lines"),
        ("(list u8)", "[1 2]", "has '2]' where a ']' is expected"),
        ("(list u8)", "[1", "ends where a ']' is expected"),
        ("(list u8)", "1", "is not a '['"),
        ("(tuple u8 u8)", "(1)", "has a tuple of 1 values in place of 2"),
        ("(tuple u8)", "(1, 2)", "has '2)' where a ')' is expected"),
        (RECORD, "{c: none}", "lacks the field 'a-b'"),
        (RECORD, "{a-b: 1, a-b: 2}", "has the field 'a-b' twice"),
        (RECORD, "{d: 1}", "has no field 'd': the record has a-b, c"),
        (VARIANT, "number", "ends where a '(' is expected"),
        (VARIANT, "other", "is not one of number, truth, some, text"),
        ('(enum "a" "b")', "c", "is not one of a, b"),
        ('(flags "a")', "{b}", "has no flag 'b': there are a"),
        ("(option (option u32))", "1", "is not one of none, some"),
    ],
)
def test_what_is_no_value_of_its_type_is_reported(kind, text, why):
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        wave.read(Echo(kind).kind, text)


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        ("string", "bob", "bob"),
        ("string", "", ""),
        ("string", "it's \\n", "it's \\n"),
        ("string", '"a\\tb"', "a\tb"),
        ("char", "x", "x"),
        ("char", "'", "'"),
        ("char", "'x'", "x"),
    ],
)
def test_a_string_and_a_char_may_be_the_word_itself(kind, word, value):
    assert wave.read_word(Echo(kind).kind, word) == value


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("u8", "u8"),
        ("(list (tuple u8 string))", "list<tuple<u8, string>>"),
        (RECORD, "record {a-b: u32, c: option<string>}"),
        (VARIANT, "variant {number(u32), truth(bool), some, text(string)}"),
        ('(enum "a" "b")', "enum {a, b}"),
        ('(flags "a" "b")', "flags {a, b}"),
        ("(result)", "result"),
        ("(result u8)", "result<u8>"),
        ("(result (error u8))", "result<_, u8>"),
        ("(result u8 (error char))", "result<u8, char>"),
    ],
)
def test_a_type_is_named_as_in_wit(kind, name):
    echo = Echo(kind)
    assert wit.signature("echo", echo.function) == f"echo(x: list<{name}>) -> list<{name}>"


STRINGS = Echo("string")


@given(st.text(st.characters(codec="utf-8")))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_string_comes_back(text):
    assert STRINGS.call(text) == text
    assert wave.read(STRINGS.kind, wave.write(STRINGS.kind, text)) == text
    assert wave.write(STRINGS.kind, text).isprintable()


def test_a_huge_string_comes_back():
    text = "é" * (1 << 20)
    assert STRINGS.call(text) == text


@given(st.floats())
@settings(deadline=None)
def test_any_float_is_read_as_it_is_written(number):
    kind = component.F64()
    again = wave.read(kind, wave.write(kind, number))
    assert again == number or (math.isnan(number) and math.isnan(again))


KINDS = [Echo(kind) for kind in dict.fromkeys(kind for kind, _, _ in VALUES)]
WORDS = ["a-b", "c", "some", "none", "ok", "err", "number", "read", "true", "nan", "-", "1", "e9", ".", "\\u{41}", "x"]


@given(st.sampled_from(KINDS), st.lists(st.sampled_from([*WORDS, *"{}()[]:,%\"'\\ \n/"]), max_size=12).map("".join))
@settings(deadline=None, max_examples=2000)
def test_whatever_the_text_it_is_a_value_or_an_error(echo, text):
    try:
        value = wave.read(echo.kind, text)
    except ValueError as error:
        assert str(error)
    else:
        assert wave.write(echo.kind, wave.read(echo.kind, wave.write(echo.kind, value))) == wave.write(echo.kind, value)
