"""Loading and calling backends; the bad ones are named and left out."""

import asyncio
import os
import signal
import time
import types

import pytest

from pelagos_core.backends import registry as module
from pelagos_core.backends.registry import Backends, Plugin
from pelagos_core.config.node_file import Config
from pelagos_core.errors import Internal, InvalidArgument, NotFound
from pelagos_core.exit_status import ExitStatus
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, UnusableCode, hookimpl

PROCESS = Process(args=("/x",))
ENTRYPOINT = Entrypoint(Kind.MODULE, "/x", "", ("/x",), (), "/", -1)


def bundle(wanted=""):
    annotations = {"io.pelagos.wasm.runtime": wanted} if wanted else {}
    return Bundle("c1", "ns", "/", Spec(process=PROCESS, annotations=annotations))


def plugin(**hooks):
    """A backend as a module would be one; by default it can run everything, and describes itself."""
    made = types.ModuleType("plugin")
    hooks.setdefault("detect", lambda bundle, entrypoint: Detection.can(50, "anything"))
    hooks.setdefault("spawn", lambda bundle, entrypoint: lambda: 0)
    for name, function in hooks.items():
        function.__name__ = f"pelagos_{name}"
        setattr(made, f"pelagos_{name}", hookimpl(function))
    return made


def load(**plugins):
    return Backends.load(
        [Plugin(name, "1.0", value if callable(value) else lambda v=value: v) for name, value in plugins.items()]
    )


def raising(error):
    def raises(*_args, **_kwargs):
        raise error

    return raises


def scoring(score):
    return plugin(detect=lambda bundle: Detection(score, f"score {score}"))


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


@pytest.mark.parametrize(
    ("attributes", "settings", "reason"),
    [
        ({"pelagos_contract": 2}, {}, "built for version 2 of the hook contract, pelagos-core"),
        ({"pelagos_contract": 2}, {}, "has version 1: upgrade pelagos-core"),
        ({"pelagos_contract": 0}, {}, "has version 1: upgrade pelagos-other"),
        ({"pelagos_contract": "1"}, {}, "has version 1: upgrade pelagos-other"),
        ({"pelagos_contract": 1}, {"x": 1}, "the node's config has settings for it, and it takes none"),
    ],
)
def test_a_backend_of_another_contract_or_without_settings_is_refused_by_name(attributes, settings, reason):
    other = scoring(1)
    vars(other).update(attributes)
    found = Backends.load([Plugin("other", "1", lambda: other, "pelagos-other")], Config(backends={"other": settings}))
    assert found.installed == ()
    assert reason in str(found.failures[0])


def test_a_backend_gets_its_settings_and_says_what_it_is():
    seen = []
    made = plugin(configure=lambda settings: seen.append(settings), describe=lambda: Description("E", "2"))
    found = Backends.load([Plugin("a", "1", lambda: made)], Config(backends={"a": {"k": "v"}}))
    assert seen == [{"k": "v"}]
    assert found.named("a").description == Description("E", "2")
    assert "ValueError: lost" in load(a=plugin(describe=raising(ValueError("lost")))).named("a").description.problem
    assert load(a=plugin()).named("a").description == Description()


def test_an_import_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(module, "IMPORT_SECONDS", 0.5)
    found = load(hangs=lambda: time.sleep(60), good=scoring(1))
    assert str(found.failures[0]) == "backend 'hangs' failed in import: TooSlow: no answer in 0.5 s"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


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
def test_a_spawn_that_goes_wrong_is_reported_by_the_backends_name(spawn, error, message):
    named = (lambda bundle: spawn()) if spawn.__name__ != "raises" else (lambda bundle: spawn(bundle))
    with pytest.raises(error, match=message):
        load(a=plugin(spawn=named)).named("a").spawn(bundle(), ENTRYPOINT)


def test_a_backend_that_compiles_says_what_its_code_depends_on():
    assert not load(a=plugin()).named("a").compiles
    silent = load(a=plugin(compile=lambda entrypoint: b"code")).named("a")
    assert silent.compiles
    assert silent.code_key(ENTRYPOINT) == str(ENTRYPOINT.limits)
    for answer in ("fuel", None):
        found = load(a=plugin(compile=lambda entrypoint: b"code", code_key=lambda entrypoint, a=answer: a)).named("a")
        assert found.code_key(ENTRYPOINT) == answer
    assert found.compile(ENTRYPOINT) == b"code"


@pytest.mark.parametrize(
    ("key", "message"),
    [(raising(ValueError("lost")), "code_key: ValueError: lost"), (lambda: 7, "code_key returned int")],
)
def test_a_key_that_makes_no_sense_is_reported_by_the_backends_name(key, message):
    found = load(a=plugin(compile=lambda: b"code", code_key=lambda: key())).named("a")
    with pytest.raises(Internal, match=f"backend 'a': {message}"):
        found.code_key(ENTRYPOINT)


def test_unusable_code_is_reported_as_that():
    spawn = raising(UnusableCode("of another version"))
    with pytest.raises(UnusableCode, match="another version"):
        load(a=plugin(spawn=lambda: spawn())).named("a").spawn(bundle(), ENTRYPOINT)


def test_a_signal_that_goes_wrong_is_reported_by_the_backends_name():
    with pytest.raises(Internal, match="backend 'a': signal: ValueError: no"):
        load(a=plugin(signal=lambda process: raising(ValueError("no"))())).named("a").signal(None, 15)
    with pytest.raises(Internal, match="backend 'a': signal: SystemExit: 3"):
        load(a=plugin(signal=lambda process: raising(SystemExit(3))())).named("a").signal(None, 15)
    with pytest.raises(ProcessLookupError):
        load(a=plugin(signal=lambda process: raising(ProcessLookupError())())).named("a").signal(None, 15)


def child():
    """A child that waits for its end, as the hooks see it; its end is the caller's."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(1)
    return types.SimpleNamespace(pid=pid, pidfd=os.pidfd_open(pid), termination_signal=0)


async def test_a_signal_that_hangs_is_delivered_by_the_built_in_one(monkeypatch, caplog):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.1)
    backend = load(a=plugin(signal=lambda process: time.sleep(1000))).named("a")
    process = child()
    backend.signal(process, 15)
    assert (await backend.wait(process)).code == 143
    os.close(process.pidfd)
    assert "backend 'a': signal: no answer in 0.1 s; the built-in one takes over" in caplog.text


@pytest.mark.parametrize("awaits_first", [False, True])
async def test_a_wait_that_blocks_the_daemon_is_interrupted(monkeypatch, caplog, awaits_first):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.1)

    async def wait():
        if awaits_first:
            await asyncio.sleep(0.01)
        time.sleep(1000)

    assert await load(a=plugin(wait=lambda process: wait())).named("a").wait(None) is None
    assert await load(a=plugin(wait=lambda process: time.sleep(1000))).named("a").wait(None) is None
    assert "backend 'a': wait" in caplog.text
    assert "TooSlow: no answer in 0.1 s" in caplog.text


async def test_a_wait_that_is_cancelled_may_clean_up():
    seen = []

    async def wait():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    waiting = asyncio.ensure_future(load(a=plugin(wait=lambda process: wait())).named("a").wait(None))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert seen == ["cleaned up"]


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


def test_a_name_that_two_packages_claim_is_refused_for_both_and_names_them():
    imported = []
    claims = [
        Plugin("a", "1", lambda: imported.append("first"), "pelagos-a"),
        Plugin("a", "9", lambda: imported.append("second"), "other-a"),
        Plugin("b", "1", lambda: scoring(1), "pelagos-b"),
    ]
    found = Backends.load(claims)
    assert [backend.name for backend in found.installed] == ["b"]
    text = (
        "backend 'a' failed in loading: 2 packages claim the name, other-a 9 and pelagos-a 1: uninstall all except one"
    )
    assert [str(failure) for failure in found.failures] == [text]
    assert not imported


@pytest.mark.parametrize(
    "name", ["auto", "native", "", " ", "/b", "..", "-x", "A", "Auto", "NATIVE", "a b", "a\n", "é", "a" * 65]
)
def test_a_name_that_cannot_be_one_is_refused_before_its_package_is_imported(name):
    found = Backends.load([Plugin(name, "1", lambda: 1 / 0, "its-package")])
    assert not found.installed
    (failure,) = found.failures
    assert failure.name == name
    assert "its-package 1" in failure.reason
    assert "name" in failure.reason


@pytest.mark.parametrize("name", ["a", "7", "wasm-engine.2_x", "a" * 64])
def test_a_name_is_lower_case_letters_digits_and_three_marks(name):
    assert [backend.name for backend in load(**{name: scoring(1)}).installed] == [name]


def test_what_a_trial_has_refused_is_reported_once():
    claims = [Plugin("auto", "1", lambda: None)]
    found = Backends.load(claims, excluded=Backends.load(claims).failures)
    assert len(found.failures) == 1
