"""What Wasmtime's program is taken for, and the words it gets."""

import os
from dataclasses import replace

import pytest

from pelagos_core.config.policy import Policy
from pelagos_core.errors import NotFound
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin import program
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.claims import FEATURES
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.limits import Limits
from pelagos_core.plugin.program import HostFile, Program
from tests.support import extensions
from tests.support.absent import ABSENT
from wasmtime_backend import hooks, program_form
from wasmtime_backend.program_form import COMMAND_0_3, HTTP, SHARED_MEMORY, SOCKETS, UNSTABLE, ProgramForm, use_of

PROCESS = Process(args=("/app.wat", "word"), env=("A=1", "B"))
BUNDLE = Bundle("c1", "default", "/b", Spec(PROCESS))
HELLO = '(module (func (export "_start")))'
TEXTS = {
    extensions.SHARED_MEMORY: SHARED_MEMORY,
    extensions.UNSTABLE: UNSTABLE,
    extensions.COMMAND_0_3: COMMAND_0_3,
    HELLO: None,
}


@pytest.fixture
def entrypoint(tmp_path):
    opened = []

    def make(text, func="", **limits):
        (tmp_path / "app.wat").write_text(text)
        opened.append(os.open(tmp_path / "app.wat", os.O_RDONLY))
        return Entrypoint.of(PROCESS, "/app.wat", func, opened[-1], Limits(**limits))

    yield make
    for each in opened:
        os.close(each)


@pytest.fixture
def form(tmp_path):
    """One whose program is there."""
    path = tmp_path / "wasmtime"
    path.touch()
    form = ProgramForm()
    form.program = Program(str(path), "/usr/bin/wasmtime", (HostFile(str(path), "/usr/bin/wasmtime"),), (str(path),))
    return form


@pytest.mark.parametrize(("text", "use"), TEXTS.items(), ids=[str(use and use.feature) for use in TEXTS.values()])
def test_it_is_taken_for_what_the_library_does_not_do(entrypoint, text, use):
    assert use_of(entrypoint(text)) is use
    assert use is None or use.feature in FEATURES


def test_without_it_the_answer_says_what_is_lacking_and_how_to_get_it(entrypoint):
    form = ProgramForm()
    form.find_program({"program": f"{ABSENT}/wasmtime"})
    answer = form.detect(UNSTABLE, BUNDLE, entrypoint(extensions.UNSTABLE))
    assert answer.score == 0
    for word in ("'wasi-unstable'", f"{ABSENT}/wasmtime", "cargo install wasmtime-cli"):
        assert word in answer.reason


def test_it_calls_no_function_by_name(entrypoint, form):
    assert not form.detect(UNSTABLE, BUNDLE, entrypoint(extensions.UNSTABLE, "f")).score
    assert form.detect(UNSTABLE, BUNDLE, entrypoint(extensions.UNSTABLE)).program is form.program


def test_native_code_is_run_only_if_it_was_compiled_here(entrypoint, form):
    plain = entrypoint(extensions.SHARED_MEMORY)
    compiled = type(plain)(**{**vars(plain), "file_path": "/app.wat", "code": "/app.wat"})
    assert "--allow-precompiled" not in form.arguments(plain)
    assert "--allow-precompiled" in form.arguments(compiled)


def test_limits_words_and_variables_are_those_of_the_container(entrypoint, form):
    words = form.arguments(entrypoint(extensions.SHARED_MEMORY, memory=1 << 20, fuel=7))
    assert {"-Wmax-memory-size=1048576", "-Wfuel=7", "--env=A=1", "--env=B=", "-Wshared-memory=y"} <= set(words)
    assert words[words.index("--dir") + 1] == f"{program.GUEST_ROOT}::/"
    assert words[-1] == "word"
    assert "-Sinherit-network=y" not in words


def test_code_depends_on_whether_fuel_is_counted_and_not_on_how_much(entrypoint, form):
    keys = [form.pelagos_code_key(entrypoint(extensions.SHARED_MEMORY, fuel=fuel)) for fuel in (None, 7, 8)]
    assert keys[0] != keys[1] == keys[2]
    assert form.pelagos_code_key(entrypoint(HELLO)) is None


def test_it_is_looked_for_in_the_package_last(tmp_path, monkeypatch):
    packaged = tmp_path / "wasmtime"
    packaged.write_bytes(b"\x7fELF")
    monkeypatch.setattr(program_form.importlib.util, "find_spec", lambda name: _Spec(str(tmp_path / "__init__.py")))
    asked = []

    def find(name, settings):
        asked.append(dict(settings))
        raise NotFound("not there")

    monkeypatch.setattr(program, "find", find)
    ProgramForm().find_program({})
    assert asked == [{}, {"program": str(packaged)}]
    assert os.access(packaged, os.X_OK)
    ProgramForm().find_program({"program": "/x"})
    assert asked[2:] == [{"program": "/x"}]


class _Spec:
    def __init__(self, origin):
        self.origin = origin


def test_a_backend_without_it_can_be_used(monkeypatch):
    monkeypatch.setattr(hooks, "_program", ProgramForm())
    hooks.pelagos_configure({"program": f"{ABSENT}/wasmtime"})
    said = hooks.pelagos_describe()
    assert (said.problem, said.program) == ("", "")
    assert f"{ABSENT}/wasmtime" in said.lacks
    assert not said.features & {use.feature for use in program_form.USES}


_SOCKETS = """
(component
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance))
  (import "wasi:http/outgoing-handler@0.2.0" (instance))
  (core module $m (func (export "run") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
"""


@pytest.fixture
def component(tmp_path):
    """A component that asks for sockets, with and without a network."""
    import wasmtime

    path = tmp_path / "sockets.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(_SOCKETS)))
    file = os.open(path, os.O_RDONLY)
    yield lambda network: replace(Entrypoint.of(PROCESS, "/app.wat", "", file), network=network)
    os.close(file)


def test_it_is_taken_for_sockets_where_there_is_a_network(component, form):
    assert use_of(component(True)) is SOCKETS
    assert use_of(component(False)) is None
    assert form.detect(SOCKETS, BUNDLE, component(True)).score
    words = form.arguments(replace(component(True), file_path="/app.wat"))
    assert {"-Sinherit-network=y", "-Sallow-ip-name-lookup=y", "-Shttp=y"} <= set(words)


def test_without_the_program_the_library_runs_what_asks_for_sockets(component, monkeypatch):
    monkeypatch.setattr(hooks, "_program", ProgramForm())
    assert hooks.pelagos_detect(BUNDLE, component(True)).program is None
    assert hooks.pelagos_detect(BUNDLE, component(True)).score


HANDLER = '(component (instance $i) (export "wasi:http/incoming-handler@0.2.3" (instance $i)))'


@pytest.mark.parametrize("version", ["incoming-handler@0.2.12", "handler@0.3.0"])
def test_a_component_that_handles_requests_is_served(entrypoint, version):
    assert use_of(entrypoint(HANDLER.replace("incoming-handler@0.2.3", version))) is HTTP


def test_a_command_that_handles_requests_too_is_a_command(entrypoint):
    both = HANDLER[:-1] + '(export "wasi:cli/run@0.2.0" (instance $i)))'
    assert use_of(entrypoint(both)) is None
    assert use_of(entrypoint(HANDLER, "f")) is None


def served(form, file, **policy):
    """The words with which it is served."""
    bundle = replace(BUNDLE, policy=Policy(**policy))
    found = form.server(bundle, replace(file, network=True, file_path="/app.wat"))
    return found.run.__self__.words


def test_the_words_of_a_server_are_those_of_its_policy(entrypoint, form):
    words = served(form, entrypoint(HANDLER, request=1.5), http_address="[::]:1")
    assert words[words.index("--addr") + 1] == "[::]:1"
    assert {"-Wtimeout=1500ms", "-Wepoch-interruption=y", "--no-logging-prefix", "-Sinherit-network=y"} <= set(words)
    words = served(form, entrypoint(HANDLER), http_prefixes=True)
    assert not {"-Wepoch-interruption=y", "--no-logging-prefix"} & set(words)


def test_code_depends_on_whether_requests_have_an_end(entrypoint, form):
    keys = [form.pelagos_code_key(entrypoint(HANDLER, request=seconds)) for seconds in (None, 1.0, 2.0)]
    assert keys[0] != keys[1] == keys[2]
