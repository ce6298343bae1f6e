"""What is kept of a module: what it depends on, what a guest gets of it, and what hostile JSON gets."""

import json
import os
import weakref
from dataclasses import astuple, fields, replace

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core import reasons
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.cache.known_module import MAX_BYTES, KnownKey, KnownModule, learnt
from pelagos_core.config.policy import Policy
from pelagos_core.oci import Mount, Process, Root, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.hookspecs import Description, Detection, hookimpl
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.program import Program
from tests.backends.test_registry import bundle, load, plugin, scoring

KEY = KnownKey("0" * 64, "", "Limits()", False, False, "b", "1")
COMMAND = '(module (memory 2) (func (export "_start")))'
LIBRARY = '(module (func (export "_initialize")) (func (export "go")))'
COMPONENT = """
(component
  (core module $m (func (export "run") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $run)) (export "mine" (func $run)))
"""
KNOWN = KnownModule(
    ("_initialize", "go"),
    memories=(65536, 0),
    warns=True,
    has_values=True,
    detections={"a": Detection.can(90, "a core module"), "b": Detection(0, "no", fault=reasons.MODULE)},
    programs=frozenset({"b"}),
    settings={"a": "fuel", "b": None},
)


def entrypoint(tmp_path, source=COMMAND, func="", **given):
    path = tmp_path / "x"
    path.write_bytes(source if isinstance(source, bytes) else wasmtime.wat2wasm(source))
    file = Entrypoint.of(Process(args=("/x",)), "/x", func, os.open(path, os.O_RDONLY), **given)
    weakref.finalize(file, os.close, file.file)
    return file


def known(file, found, settings="s", *, warns=False, **selection):
    choice = Selection(found, **selection).choose(bundle(), file)
    return learnt(file, choice, settings, warns=warns)


class Answering:
    """A backend that gives one answer to `detect`."""

    def __init__(self, detection):
        self.pelagos_detect = hookimpl(lambda: detection)
        self.pelagos_spawn = hookimpl(lambda: lambda: 0)


PROGRAM = Program("/usr/bin/e", "/usr/bin/e", (), ("/usr/bin/e",))


def test_a_key_is_another_one_where_anything_in_it_is():
    other = KnownKey("1" * 64, "f", "Limits(1)", True, True, "c", "2")
    changed = [replace(KEY, **{each.name: getattr(other, each.name)}) for each in fields(KEY)]
    assert len({key.name for key in (KEY, *changed)}) == 1 + len(fields(KEY))
    assert KEY.name == KnownKey(*astuple(KEY)).name


def test_a_key_has_all_that_an_answer_may_depend_on():
    mount = Mount("/data", "bind", "/x", ("ro",))
    readonly = Bundle("c1", "ns", "/", Spec(process=Process(args=("/x",)), mounts=(mount,)))
    found = load(a=scoring(1))
    keys = [
        KnownKey.of("0", "", Limits(), bundle(), found),
        KnownKey.of("1", "", Limits(), bundle(), found),
        KnownKey.of("0", "f", Limits(), bundle(), found),
        KnownKey.of("0", "", Limits(memory=1), bundle(), found),
        KnownKey.of("0", "", Limits(fuel=1), bundle(), found),
        KnownKey.of("0", "", Limits(), readonly, found),
        KnownKey.of("0", "", Limits(), replace(bundle(), policy=Policy(network=False)), found),
        KnownKey.of("0", "", Limits(), bundle(), load(a=scoring(1), b=scoring(1))),
        KnownKey.of("0", "", Limits(), bundle(), load(a=plugin(describe=lambda: Description("E", "2")))),
    ]
    assert len({key.name for key in keys}) == len(keys)
    # The requested backend is not part of the key: it is decided each time.
    assert KnownKey.of("0", "", Limits(), bundle("a"), load(a=scoring(1))) == keys[0]


def test_the_rest_of_a_root_makes_no_difference():
    spec = Spec(process=Process(args=("/y", "z"), env=("A=1",)), root=Root("/elsewhere", readonly=False))
    other = Bundle("c2", "other", "/b", spec)
    found = load(a=scoring(1))
    assert KnownKey.of("0", "", Limits(), other, found) == KnownKey.of("0", "", Limits(), bundle(), found)


@pytest.mark.parametrize(
    ("source", "func", "calls", "is_component", "memories"),
    [
        (COMMAND, "", ("_start",), False, (2 << 16,)),
        (LIBRARY, "go", ("_initialize", "go"), False, ()),
        (COMPONENT, "", ("wasi:cli/run@0.2.3", "run"), True, ()),
        (COMPONENT, "wasi:cli/run@0.2.3/run", ("wasi:cli/run@0.2.3", "run"), True, ()),
    ],
)
def test_what_is_learnt_of_a_module_is_what_starts_it(tmp_path, source, func, calls, is_component, memories):
    file = entrypoint(tmp_path, source, func)
    found = load(a=scoring(90), b=scoring(10))
    guest = known(file, found, "fuel", warns=True).guest(Selection(found))
    assert (guest.backend, guest.reason) == (found.named("a"), "score 90; best of a, b")
    assert (guest.settings, guest.warns) == ("fuel", True)
    assert (guest.calls, guest.is_component, guest.memories) == (calls, is_component, memories)


@pytest.mark.parametrize(
    ("source", "func"),
    [(COMPONENT, "mine"), ('(module (func (export "five") (result i32) (i32.const 5)))', "five")],
)
def test_a_function_with_values_is_known_to_need_an_interpreter(tmp_path, source, func):
    described = Description(features=frozenset({"function-values"}))
    found = load(a=plugin(describe=lambda: described, detect=lambda: Detection.can(90, "yes", imports={})))
    assert known(entrypoint(tmp_path, source, func), found).has_values
    assert known(entrypoint(tmp_path, source, func), load(a=scoring(90))) is None  # it does not claim that


def test_a_component_that_only_its_engine_can_start_has_nothing_to_be_called(tmp_path):
    file = entrypoint(tmp_path, "(component)")
    assert known(file, load(a=scoring(9))).calls == ()


def test_nothing_is_learnt_where_no_backend_can_run_it(tmp_path):
    assert known(entrypoint(tmp_path), load(a=scoring(0))) is None


TEXT, MALFORMED, LATER_IMPORT = b"(module)", b"\0asm\1\0\0\0\2\x7f", b"\0asm\1\0\0\0\2\7\1\1a\1b\x20\0"


@pytest.mark.parametrize("source", [TEXT, MALFORMED, LATER_IMPORT])
def test_nothing_is_learnt_of_what_core_does_not_understand(tmp_path, source):
    file = entrypoint(tmp_path, source)
    assert known(file, load(a=scoring(9))) is None


NOT_KEPT, FAILING = Answering(Detection.cannot("not here", kept=False)), plugin(detect=lambda bundle: bundle.lost)


@pytest.mark.parametrize("other", [NOT_KEPT, FAILING])
def test_nothing_is_learnt_if_an_answer_does_not_hold_for_others(tmp_path, other):
    file, found = entrypoint(tmp_path), load(a=scoring(9), b=other)
    assert known(file, found) is None
    assert known(file, found, preference=Preference("a")) is not None  # the other was not asked


@pytest.mark.parametrize(
    "answer",
    [
        Detection(1.5, "a fraction"),
        Detection(101, "more than all"),
        Detection(9, b"bytes"),
        Detection(9, "long" * MAX_BYTES),
    ],
)
def test_nothing_is_learnt_of_answers_that_are_none(tmp_path, answer):
    assert known(entrypoint(tmp_path), load(a=Answering(answer))) is None


def test_a_backend_s_own_reason_is_left_out(tmp_path):
    found = load(a=scoring(9), b=Answering(Detection(0, "no", fault="MINE")))
    assert known(entrypoint(tmp_path), found).detections["b"].fault == reasons.ENGINE_UNFIT


def test_an_engine_that_is_a_program_is_known_to_be_one_and_starts_no_guest(tmp_path):
    found = load(a=Answering(Detection.can(90, "by its program", PROGRAM)), b=scoring(10))
    made = known(entrypoint(tmp_path), found)
    assert made.programs == {"a"}
    assert made.guest(Selection(found)) is None
    assert made.guest(Selection(found, Preference("b"))) is None  # nothing is known of its code
    both = known(entrypoint(tmp_path), found, None, preference=Preference("b")).with_earlier(made)
    assert both.guest(Selection(found, Preference("b"))).settings is None
    assert both.guest(Selection(found)) is None


def test_what_was_known_is_completed(tmp_path):
    file, found = entrypoint(tmp_path), load(a=scoring(90), b=scoring(10))
    every = known(file, found, "1")
    one = known(file, found, "2", preference=Preference("b", "a test"))
    assert one.guest(Selection(found)) is None
    both = one.with_earlier(every)
    assert (both.guest(Selection(found)).settings, both.guest(Selection(found)).backend.name) == ("1", "a")
    assert both.guest(Selection(found, Preference("b", "a test"))).settings == "2"
    assert both.guest(Selection(found, first="b")).reason == "score 10; as the container's first process"
    assert both == every.with_earlier(one)


def test_an_engine_that_was_a_program_and_is_none_any_more_is_none():
    later = KnownModule((), detections={"a": Detection.can(9, "embedded")}, settings={"a": ""})
    assert later.with_earlier(replace(later, programs=frozenset({"a"}))).programs == frozenset()


@given(
    scores=st.dictionaries(st.sampled_from("abc"), st.sampled_from([0, 10, 90, 95]), min_size=1),
    learning=st.sampled_from(["auto", *"abc"]),
    wanted=st.sampled_from(["auto", *"abc"]),
    order=st.lists(st.sampled_from("abc"), unique=True),
    first=st.sampled_from(["", *"abc"]),
)
def test_a_guest_is_what_asking_would_have_chosen(tmp_path_factory, scores, learning, wanted, order, first):
    found = load(**{name: scoring(score) for name, score in scores.items()})
    file = entrypoint(tmp_path_factory.getbasetemp())
    made = known(file, found, preference=Preference(learning))
    selection = Selection(found, Preference(wanted, "a test", tuple(order)), first=first)
    asked = selection.choose(bundle(), file)
    guest = made.guest(selection) if made else None
    if guest:
        assert (guest.backend, guest.reason) == (asked.backend, asked.reason)
    elif made and learning == "auto" and asked.backend:
        assert asked.backend.name not in made.settings


def test_it_survives_the_way():
    assert KnownModule.of(json.loads(json.dumps(KNOWN.fields()))) == KNOWN
    assert KnownModule.of(KnownModule(()).fields()) == KnownModule(())


def changed(**values):
    return {**KNOWN.fields(), **values}


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        [],
        "x",
        {},
        {name: value for name, value in KNOWN.fields().items() if name != "warns"},
        changed(more=1),
        changed(calls="_start"),
        changed(calls=[1]),
        changed(is_component=1),
        changed(memories=[1.5]),
        changed(memories=[True]),
        changed(memories=[-1]),
        changed(memories=[1 << 70]),
        changed(warns=None),
        changed(answers=[]),
        changed(answers={"a": None}),
        changed(answers={"a": [1, "x", "y"]}),
        changed(answers={"a": [True, "x", "y", True]}),
        changed(answers={"a": [-1, "x", "y", True]}),
        changed(answers={"a": [10**9, "x", "y", True]}),
        changed(answers={"a": [1, "x", "y", 0]}),
        changed(settings={"a": 1}),
        changed(settings=None),
    ],
)
def test_what_is_malformed_is_refused(hostile):
    with pytest.raises(ValueError, match="not "):
        KnownModule.of(hostile)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(name=st.sampled_from(list(KNOWN.fields())), value=JSON)
def test_any_value_in_the_place_of_one_is_read_or_refused(name, value):
    try:
        read = KnownModule.of(changed(**{name: value}))
    except ValueError:
        return
    assert KnownModule.of(json.loads(json.dumps(read.fields()))) == read
