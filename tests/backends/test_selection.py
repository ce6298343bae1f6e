"""Which backend runs a container: the requested one, or the best; the error names one that could."""

import os
import time
from types import SimpleNamespace

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core import reasons
from pelagos_core.backends import registry as module
from pelagos_core.backends.registry import Backends, Failure
from pelagos_core.backends.selection import Preference, Selection, preference
from pelagos_core.config.node_file import Config
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.oci import Process
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.hookspecs import Description, Detection, NativePart, hookimpl
from pelagos_core.plugin.limits import Limits
from tests.backends.test_registry import ENTRYPOINT, bundle, load, plugin, raising, scoring

KEY = "io.pelagos.wasm.runtime"


def choose(found, name="auto", order=(), entrypoint=ENTRYPOINT, **fields):
    return Selection(found, Preference(name, "a test", order), **fields).choose(bundle(), entrypoint)


def refusal(found, name="auto"):
    selection = Selection(found, Preference(name, "a test"))
    return selection.refusal(ENTRYPOINT, selection.choose(bundle(), ENTRYPOINT))


def test_the_best_score_wins_and_a_tie_goes_by_name():
    chosen = choose(load(b=scoring(70), a=scoring(70), c=scoring(60)))
    assert chosen.backend.name == "a"
    assert chosen.reason == "score 70; best of a, b, c"
    assert {name: answer.score for name, answer in chosen.detections.items()} == {"a": 70, "b": 70, "c": 60}


@pytest.mark.parametrize(
    ("order", "scores", "best"),
    [
        ((), {"a": 91, "b": 95, "c": 89}, "b"),
        (("a",), {"a": 91, "b": 95, "c": 89}, "a"),
        (("c", "a"), {"a": 91, "b": 95, "c": 89}, "c"),
        (("d", "c", "a"), {"a": 91, "b": 95, "c": 10, "d": 0}, "c"),
        (("none-such", "b"), {"a": 95, "b": 91}, "b"),
        (("b", "a"), {"a": 100, "b": 90}, "b"),
        (("b", "a"), {"a": 10, "b": 9}, "b"),
    ],
)
def test_among_those_that_can_the_configured_order_decides(order, scores, best):
    found = load(**{name: scoring(score) for name, score in scores.items()})
    assert choose(found, order=order).backend.name == best


@pytest.mark.parametrize(
    ("own", "pod", "options", "node", "name", "source"),
    [
        ({KEY: "a"}, {KEY: "b"}, "c", "d", "a", "the container's annotation"),
        ({}, {KEY: "b"}, "c", "d", "b", "the pod's annotation"),
        ({KEY: ""}, {}, "c", "d", "c", "the runtime options"),
        ({}, {}, "", "d", "d", "the node's config"),
        ({}, {}, "", "", "auto", "no setting"),
        ({KEY: "auto"}, {KEY: "b"}, "c", "d", "auto", "the container's annotation"),
    ],
)
def test_the_first_opinion_wins(own, pod, options, node, name, source):
    found = preference(own, pod, Config(runtime=options), Config(runtime=node, order=("x",)))
    assert found.name == name
    assert found.source.startswith(source)
    assert found.order == ("x",)


FOR_APP = f"{KEY}.app"


@pytest.mark.parametrize(
    ("own", "pod", "name", "source"),
    [
        # containerd writes what a pod says into the specs of its containers too.
        ({KEY: "all", FOR_APP: "one"}, {KEY: "all", FOR_APP: "one"}, "one", f"the pod's annotation {FOR_APP}"),
        ({}, {KEY: "all", FOR_APP: "one"}, "one", f"the pod's annotation {FOR_APP}"),
        ({KEY: "own", FOR_APP: "one"}, {KEY: "all", FOR_APP: "one"}, "own", f"the container's annotation {KEY}"),
        ({KEY: "own"}, {FOR_APP: "one"}, "own", f"the container's annotation {KEY}"),
        ({KEY: "all"}, {KEY: "all", f"{KEY}.side": "other"}, "all", f"the pod's annotation {KEY}"),
        ({KEY: "all", FOR_APP: "one"}, {}, "one", f"the pod's annotation {FOR_APP}"),
        ({f"{KEY}.side": "other"}, {f"{KEY}.side": "other"}, "node", "the node's config"),
    ],
)
def test_a_pods_annotation_may_name_the_container(own, pod, name, source):
    found = preference(own, pod, Config(), Config(runtime="node"), "app")
    assert (found.name, found.source) == (name, source)


def test_a_container_without_a_name_is_meant_by_no_annotation_with_one():
    assert preference({FOR_APP: "one"}, {}, Config(), Config()).name == "auto"


def test_the_order_of_the_options_wins_over_the_nodes():
    assert preference({}, {}, Config(order=("y",)), Config(order=("x",))).order == ("y",)


def test_a_container_chooses_by_name_and_only_that_one_is_asked():
    asked = []
    chosen = choose(load(a=scoring(90), b=scoring(10)), "b", asking=asked.append)
    assert (chosen.backend.name, asked) == ("b", ["b"])
    assert chosen.reason == "score 10; asked for by a test"


def test_without_a_name_all_are_asked():
    asked = []
    choose(load(b=scoring(0), a=scoring(1)), asking=asked.append)
    assert asked == ["a", "b"]


def test_a_further_process_is_run_by_the_backend_of_the_first_if_it_can():
    asked = []
    found = load(a=scoring(90), b=scoring(10), c=scoring(0))
    chosen = choose(found, first="b", asking=asked.append)
    assert (chosen.backend.name, chosen.reason, asked) == ("b", "score 10; as the container's first process", ["b"])
    assert choose(found, first="c").backend.name == "a"
    assert choose(found, first="gone").backend.name == "a"
    assert choose(found, "a", first="b").backend.name == "a"
    assert choose(load(c=scoring(0)), first="c").backend is None


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("none-such", NotFound, "backend 'none-such', asked for by a test, is not installed "
         "(installed: cannot, good, silent; good could)"),
        ("cannot", InvalidArgument, "entry point '/x' (core module): backend 'cannot', asked for by a test, "
         "cannot run it: too new (installed: cannot, good, silent; good could)"),
        ("broken", FailedPrecondition, "backend 'broken' failed in import: ImportError: gone "
         "(installed: cannot, good, silent; good could)"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_asked_and_who_could(wanted, error, message):
    cannot = plugin(detect=lambda: Detection.cannot("too new"))
    broken = raising(ImportError("gone"))
    told = refusal(load(cannot=cannot, silent=plugin(detect=lambda: None), good=scoring(5), broken=broken), wanted)
    assert type(told) is error
    assert message in str(told)


def test_a_refusal_of_all_says_what_each_said():
    cannot = plugin(detect=lambda: Detection.cannot("too new"))
    told = refusal(load(cannot=cannot, silent=plugin(detect=lambda: None)))
    assert type(told) is InvalidArgument
    assert "no installed backend can run it: cannot: too new; silent: not for this backend" in str(told)


def test_a_refusal_of_all_begins_with_what_is_wrong_with_the_file():
    file = Detection(0, "it has no entry point", fault=reasons.MODULE)
    told = refusal(load(a=plugin(detect=lambda: Detection.cannot("not installed")), b=plugin(detect=lambda: file)))
    assert "no installed backend can run it: b: it has no entry point; a: not installed" in str(told)


class Providing:
    """A backend that says yes, and what its engine provides."""

    def __init__(self, score, imports):
        self.pelagos_detect = hookimpl(lambda: Detection.can(score, "yes", imports=imports))
        self.pelagos_spawn = hookimpl(lambda: lambda: 0)


def importing(tmp_path, text='(import "env" "f" (func)) (func (export "_start"))', func=""):
    (tmp_path / "x").write_bytes(wasmtime.wat2wasm(text))
    file = os.open(tmp_path / "x", os.O_RDONLY)
    return Entrypoint.of(Process(args=("/x",)), "/x", func, file)


def test_auto_passes_to_a_backend_that_has_what_is_imported(tmp_path):
    found = load(a=Providing(99, {}), b=Providing(50, {"env": {"f"}}), c=Providing(40, {"env": None}))
    chosen = choose(found, entrypoint=importing(tmp_path))
    assert (chosen.backend.name, chosen.able) == ("b", ["b", "c"])
    assert chosen.detections["a"].reason == "'/x' has an unknown import: env::f"


@pytest.mark.parametrize(
    ("backends", "name", "reason"),
    [
        ({"a": Providing(9, {}), "b": Providing(8, {"env": {"g"}})}, "auto", reasons.MODULE),
        ({"a": Providing(9, {}), "b": Providing(8, {"env": {"g"}})}, "a", reasons.MODULE),
        ({"a": Providing(9, {}), "b": Providing(8, {"env": {"f"}})}, "a", reasons.ENGINE_UNFIT),
        ({"a": Providing(9, {}), "b": scoring(0)}, "auto", reasons.MODULE),
        ({"b": scoring(0)}, "auto", reasons.ENGINE_UNFIT),
    ],
)
def test_the_module_is_at_fault_unless_another_backend_could_run_it(tmp_path, backends, name, reason):
    selection, entrypoint = Selection(load(**backends), Preference(name, "a test")), importing(tmp_path)
    told = selection.refusal(entrypoint, selection.choose(bundle(), entrypoint))
    assert told.reason == reason


def test_those_that_say_the_same_are_named_together(tmp_path):
    selection, entrypoint = Selection(load(a=Providing(9, {}), b=Providing(8, {}), c=scoring(0))), importing(tmp_path)
    told = str(selection.refusal(entrypoint, selection.choose(bundle(), entrypoint)))
    assert "can run it: a, b: '/x' has an unknown import: env::f; c: " in told


def test_a_malformed_file_is_known_before_it_is_chosen(tmp_path):
    (tmp_path / "x").write_bytes(b"\0asm\1\0\0\0\2\x7f")
    file = os.open(tmp_path / "x", os.O_RDONLY)
    entrypoint = Entrypoint.of(Process(args=("/x",)), "/x", "", file)
    chosen = choose(load(a=Providing(9, {})), entrypoint=entrypoint)
    assert (chosen.backend, chosen.detections["a"].score) == (None, 0)
    assert "not valid WebAssembly" in chosen.detections["a"].reason


def test_nothing_installed_is_said():
    assert "installed: none" in str(refusal(load()))


def test_a_limit_that_only_the_engine_can_hold_needs_a_backend_that_claims_it():
    entrypoint = type(ENTRYPOINT)(**{**vars(ENTRYPOINT), "limits": Limits(fuel=7)})
    detect = {"detect": lambda: Detection.can(50, "yes")}
    claims = plugin(**detect, describe=lambda: Description(limits=frozenset({"fuel"})))
    chosen = choose(load(a=plugin(), b=claims), entrypoint=entrypoint)
    assert chosen.backend.name == "b"
    assert chosen.detections["a"].reason == "cannot hold a guest to a limit of fuel"
    assert choose(load(a=plugin()), "a", entrypoint=entrypoint).backend is None


@pytest.mark.parametrize(
    ("detect", "reason"),
    [
        (raising(RuntimeError("lost")), "RuntimeError: lost"),
        (raising(SystemExit()), "SystemExit"),
        (lambda: "yes", "TypeError: detect returned str, not a Detection"),
        (lambda: time.sleep(60), "TooSlow: no answer in 0.02 s"),
    ],
)
def test_a_backend_that_goes_wrong_in_detect_is_named_and_left_out(monkeypatch, detect, reason):
    monkeypatch.setattr(module, "DETECT_SECONDS", 0.02)
    named = (lambda bundle: detect()) if detect.__name__ != "raises" else (lambda bundle: detect(bundle))
    chosen = choose(load(bad=plugin(detect=named), good=scoring(1)))
    assert chosen.backend.name == "good"
    assert [str(failure) for failure in chosen.failures] == [f"backend 'bad' failed in detect: {reason}"]


def test_a_backend_that_is_excluded_is_not_asked():
    asked = []
    excluded = (Failure("a", "detect", "it crashed"),)
    chosen = choose(load(a=scoring(90), b=scoring(1)), asking=asked.append, excluded=excluded)
    assert (chosen.backend.name, asked, chosen.failures) == ("b", ["b"], excluded)


NAMES = "abc"
scores = st.sampled_from([0, 0, 10, 50, 90, 95])


@given(
    installed=st.dictionaries(st.sampled_from(NAMES), scores),
    wanted=st.sampled_from(["auto", "auto", *NAMES, "d", "e"]),
    order=st.lists(st.sampled_from(NAMES), unique=True),
    first=st.sampled_from(["", *NAMES, "d", "e"]),
    fuel=st.booleans(),
)
def test_answers_that_are_kept_give_the_choice_that_asking_gives(installed, wanted, order, first, fuel):
    plugins = {name: scoring(score) for name, score in installed.items()}
    holding = {"describe": lambda: Description(limits=frozenset({"fuel"}))}
    found = load(**plugins, d=plugin(**holding), e=raising(ImportError("gone")))
    entrypoint = type(ENTRYPOINT)(**{**vars(ENTRYPOINT), "limits": Limits(fuel=7 if fuel else None)})
    selection = Selection(found, Preference(wanted, "a test", tuple(order)), first=first)
    asked = selection.choose(bundle(), entrypoint)
    recalled = selection.recall(asked.detections)
    assert recalled == (asked if asked.backend else None)
    every = Selection(found).choose(bundle(), entrypoint).detections
    if recalled:  # more is known than this container needs
        assert selection.recall(every) == recalled


def test_nothing_is_recalled_where_it_has_to_be_asked():
    found = load(a=scoring(90), b=scoring(10), c=scoring(0))
    yes, no = Detection.can(9, "yes"), Detection.cannot("no")
    assert Selection(found).recall({"a": yes, "b": yes}) is None
    assert Selection(found, Preference("b")).recall({"b": yes}).backend.name == "b"
    assert Selection(found, Preference("b")).recall({"a": yes, "b": no, "c": no}) is None
    assert Selection(found, Preference("z")).recall({"a": yes, "b": yes, "c": yes}) is None
    assert Selection(found, first="c").recall({"c": no}) is None
    assert Selection(found, first="c").recall({"a": no, "b": yes, "c": no}).backend.name == "b"
    excluded = (Failure("c", "detect", "it crashed"),)
    assert Selection(found, excluded=excluded).recall({"a": yes, "b": yes, "c": no}) is None


def with_parts(**light):
    """Backends of these names: each with a native part that is light or not, or with none."""
    parts = {
        name: None if is_light is None else NativePart("/x", "/x", is_light=is_light)
        for name, is_light in light.items()
    }
    return Backends(tuple(SimpleNamespace(name=name, native=part) for name, part in sorted(parts.items())))


@pytest.mark.parametrize(
    ("preference", "likely"),
    [
        (Preference(), "light"),  # not the first by its name, which takes long to be warm
        (Preference(order=("heavy",)), "heavy"),
        (Preference("heavy", "a test"), "heavy"),
        (Preference("python", "a test"), "light"),  # a native program may come all the same
    ],
)
def test_the_nursery_of_the_first_attempt_is_of_the_backend_that_is_chosen_most_likely(preference, likely):
    backends = with_parts(heavy=False, light=True, python=None)
    assert Selection(backends, preference).likely_with_native_part.name == likely


def test_without_native_parts_no_backend_is_likely():
    assert Selection(with_parts(python=None)).likely_with_native_part is None
