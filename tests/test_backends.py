"""Finding, asking and choosing backends; the bad ones are named and left out."""

import asyncio
import signal
import time
import types

import pytest

from pelagos_core import backends as module
from pelagos_core.backends import Backends, Failure
from pelagos_core.bundle import Bundle
from pelagos_core.entrypoint import Entrypoint, Kind
from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument, NotFound
from pelagos_core.exit_status import ExitStatus
from pelagos_core.hookspecs import Detection, hookimpl
from pelagos_core.spec import Process, Spec

PROCESS = Process(args=("/x",))
ENTRYPOINT = Entrypoint(Kind.MODULE, "/x", "", ("/x",), (), "/", -1)


def bundle(wanted=""):
    annotations = {"io.pelagos.wasm.runtime": wanted} if wanted else {}
    return Bundle("c1", "ns", "/", Spec(process=PROCESS, annotations=annotations))


def plugin(**hooks):
    """A backend as a module would be one; by default it can run everything, and says who it is."""
    made = types.ModuleType("plugin")
    hooks.setdefault("detect", lambda bundle, entrypoint: Detection.can(50, "anything"))
    hooks.setdefault("spawn", lambda bundle, entrypoint: lambda: 0)
    for name, function in hooks.items():
        function.__name__ = f"pelagos_{name}"
        setattr(made, f"pelagos_{name}", hookimpl(function))
    return made


def load(**plugins):
    return Backends.load(
        [(name, "1.0", value if callable(value) else lambda v=value: v) for name, value in plugins.items()]
    )


def raising(error):
    def raises(*_args, **_kwargs):
        raise error

    return raises


def scoring(score):
    return plugin(detect=lambda bundle: Detection(score, f"score {score}"))


def test_the_best_score_wins_and_a_tie_goes_by_name():
    chosen = load(b=scoring(70), a=scoring(70), c=scoring(60)).choose(bundle(), ENTRYPOINT)
    assert chosen.backend.name == "a"
    assert chosen.reason == "score 70; best of a, b, c"
    assert {name: answer.score for name, answer in chosen.detections.items()} == {"a": 70, "b": 70, "c": 60}


def test_a_container_chooses_by_name_and_only_that_one_is_asked():
    asked = []
    chosen = load(a=scoring(90), b=scoring(10)).choose(bundle("b"), ENTRYPOINT, asked.append)
    assert (chosen.backend.name, asked) == ("b", ["b"])


@pytest.mark.parametrize("wanted", ["", "auto"])
def test_without_a_name_all_are_asked(wanted):
    asked = []
    load(b=scoring(0), a=scoring(1)).choose(bundle(wanted), ENTRYPOINT, asked.append)
    assert asked == ["a", "b"]


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("none-such", NotFound, "backend 'none-such' is not installed (installed: cannot, silent)"),
        ("cannot", InvalidArgument, "entry point '/x' (core module): no installed backend can run it: cannot: too new"),
        ("", InvalidArgument, "cannot: too new; silent: not for this backend"),
        ("broken", FailedPrecondition, "backend 'broken' failed in import: ImportError: gone"),
    ],
)
def test_a_refusal_says_who_was_asked_and_what_each_said(wanted, error, message):
    cannot = plugin(detect=lambda: Detection.cannot("too new"))
    found = load(cannot=cannot, silent=plugin(detect=lambda: None), broken=raising(ImportError("gone")))
    choice = found.choose(bundle(wanted), ENTRYPOINT)
    assert choice.backend is None
    refusal = found.refusal(bundle(wanted), ENTRYPOINT, choice)
    assert type(refusal) is error
    assert message in str(refusal)


def test_nothing_installed_is_said():
    found = load()
    refusal = found.refusal(bundle(), ENTRYPOINT, found.choose(bundle(), ENTRYPOINT))
    assert "installed: none" in str(refusal)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (raising(ImportError("no engine")), "ImportError: no engine"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (plugin(spwan=lambda: None), "PluginValidationError: unknown hook 'pelagos_spwan'"),
        (types.ModuleType("empty"), "TypeError: it has no pelagos_spawn"),
        (plugin(detect=lambda moon: None), "PluginValidationError"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_named_and_left_out(broken, reason):
    found = load(broken=broken, good=scoring(1))
    assert [backend.name for backend in found.installed] == ["good"]
    (failure,) = found.failures
    assert (failure.name, failure.stage) == ("broken", "import")
    assert reason in failure.reason
    assert found.choose(bundle(), ENTRYPOINT).backend.name == "good"


def test_an_import_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(module, "IMPORT_SECONDS", 0.02)
    found = load(hangs=lambda: time.sleep(60), good=scoring(1))
    assert str(found.failures[0]) == "backend 'hangs' failed in import: TooSlow: no answer in 0.02 s"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


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
    chosen = load(bad=plugin(detect=named), good=scoring(1)).choose(bundle(), ENTRYPOINT)
    assert chosen.backend.name == "good"
    assert [str(failure) for failure in chosen.failures] == [f"backend 'bad' failed in detect: {reason}"]


def test_a_backend_that_is_excluded_is_not_asked():
    asked = []
    excluded = (Failure("a", "detect", "it crashed"),)
    chosen = load(a=scoring(90), b=scoring(1)).choose(bundle(), ENTRYPOINT, asked.append, excluded)
    assert (chosen.backend.name, asked, chosen.failures) == ("b", ["b"], excluded)


def test_each_hook_goes_to_the_chosen_backend_alone():
    # pluggy would ask the last registered first, which is b
    found = load(
        a=plugin(spawn=lambda: lambda: 1, signal=lambda process: process.append("a")),
        b=plugin(spawn=lambda: lambda: 2, signal=lambda process: process.append("b") or True),
    )
    seen = types.SimpleNamespace(append=lambda name: names.append(name) or True)
    names = []
    assert found.named("a").spawn(bundle(), ENTRYPOINT)() == 1
    found.named("a").signal(seen, 15)
    assert names == ["a"]
    with pytest.raises(NotFound, match="'z' is not installed"):
        found.named("z")


@pytest.mark.parametrize(
    ("spawn", "error", "message"),
    [
        (raising(NotFound("no such export")), NotFound, "^no such export$"),
        (raising(ValueError("bad")), InvalidArgument, "backend 'a': ValueError: bad"),
        (raising(SystemExit(1)), InvalidArgument, "backend 'a': SystemExit: 1"),
        (raising(ModuleNotFoundError("x")), Internal, "import everything when the backend itself is imported"),
        (lambda: None, Internal, "backend 'a': spawn returned no workload"),
        (lambda: 7, Internal, "backend 'a': spawn returned no workload"),
    ],
)
def test_a_spawn_that_goes_wrong_is_told_by_the_backends_name(spawn, error, message):
    named = (lambda bundle: spawn()) if spawn.__name__ != "raises" else (lambda bundle: spawn(bundle))
    with pytest.raises(error, match=message):
        load(a=plugin(spawn=named)).named("a").spawn(bundle(), ENTRYPOINT)


def test_a_signal_that_goes_wrong_is_told_by_the_backends_name():
    with pytest.raises(Internal, match="backend 'a': signal: ValueError: no"):
        load(a=plugin(signal=lambda process: raising(ValueError("no"))())).named("a").signal(None, 15)
    with pytest.raises(Internal, match="backend 'a': signal: SystemExit: 3"):
        load(a=plugin(signal=lambda process: raising(SystemExit(3))())).named("a").signal(None, 15)
    with pytest.raises(ProcessLookupError):
        load(a=plugin(signal=lambda process: raising(ProcessLookupError())())).named("a").signal(None, 15)


async def test_a_backend_may_wait_in_its_own_way():
    async def wait():
        return ExitStatus(42, 1)

    assert await load(a=plugin(wait=lambda process: wait())).named("a").wait(None) == ExitStatus(42, 1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: raising(ValueError("lost"))(),
        lambda: raising(SystemExit(3))(),
        lambda: asyncio.sleep(0, "nonsense"),
        lambda: ExitStatus.now(-9),
    ],
)
async def test_a_wait_that_goes_wrong_tells_nothing(answer):
    assert await load(a=plugin(wait=lambda process: answer())).named("a").wait(None) is None


def test_a_score_stays_within_its_bounds():
    assert Detection.can(500, "x").score == 100
    assert Detection.can(-1, "x").score == 1
    assert Detection.cannot("x").score == 0


def test_two_backends_of_one_name_are_not_confused():
    found = Backends.load([("a", "1", lambda: scoring(1)), ("a", "2", lambda: scoring(2))])
    assert [backend.version for backend in found.installed] == ["1"]
    assert "another distribution" in str(found.failures[0])
