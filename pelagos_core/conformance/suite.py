"""The tests that every backend must pass: run `pelagos conformance NAME`, or pytest itself:

    pytest -p pelagos_core.conformance.plugin --pelagos-backend NAME

Each test runs containers through the real shim, with `pelagos run`; containerd is not needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pelagos_core.config.node_file import CACHE_VARIABLE
from pelagos_core.conformance import modules
from pelagos_core.conformance.environment import environment_with
from pelagos_core.conformance.faulty import FAULTY, SLOW, WILLING
from pelagos_core.conformance.kept_code import KeptCode
from pelagos_core.conformance.runner import Ended, Runner
from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Guest
from pelagos_core.conformance.wasi.names import CREAT, Errno, Rights

_SECONDS = 60
_NOT_RUN = (0, 125, 126, 127)  # exit codes that do not show that the guest was refused something
_PROMPT_SECONDS = 5  # for a signal to end a guest, including the command's own time

feature = pytest.mark.feature
claims = pytest.mark.claims


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptCode:
    """An empty cache for one test."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return KeptCode(tmp_path / "cache")


@feature("life cycle")
def test_a_guest_writes_to_stdout_and_exits(run: Runner) -> None:
    assert run(modules.says("hello")) == Ended(0, b"hello", "")


@feature("life cycle")
def test_stderr_is_separate_from_stdout(run: Runner) -> None:
    assert run(modules.says("oops", fd=2)) == Ended(0, b"", "oops")


@feature("exit codes")
@pytest.mark.parametrize("code", [0, 1, 42, 45, 134, 255])
def test_an_exit_code_is_returned_unchanged(run: Runner, code: int) -> None:
    assert run(modules.leaves(code)) == Ended(code, b"", "")


@feature("traps: 134, the text on stderr")
@pytest.mark.parametrize("name", modules.TRAPS)
def test_a_trap_exits_with_134_and_is_reported_on_stderr(run: Runner, name: str) -> None:
    ended = run(modules.TRAPS[name])
    assert (ended.code, ended.out) == (134, b"")
    assert ended.err.strip()


@feature("traps: 134, the text on stderr")
def test_output_before_a_trap_is_not_lost(run: Runner) -> None:
    said = "(call $write (i32.const 1) (i32.const 1024) (i32.const 6)) (unreachable)"
    ended = run(modules.program(said, modules.text(1024, "before")))
    assert (ended.code, ended.out) == (134, b"before")


@feature("arguments")
def test_arguments_arrive_unchanged(run: Runner) -> None:
    words = ["a", "", "two words", "--flag", "-x", "--", "é€", "'\"\\"]
    arguments = run(modules.ARGUMENTS, *words).out.decode().split("\0")
    assert arguments[0].endswith("guest.wasm")
    assert arguments[1:] == [*words, ""]


@feature("argv[0]")
@claims("argv0")
def test_the_first_argument_is_the_one_of_the_spec(run: Runner) -> None:
    assert run(modules.ARGUMENTS).out == b"/guest.wasm\0"


@feature("environment")
def test_a_guest_gets_its_variables_and_none_of_the_host(run: Runner) -> None:
    given = {"A": "1", "B": "x=y", "C": "two words", "D": "é"}
    flags = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    found = run(modules.ENVIRONMENT, flags=tuple(flags)).out.decode().split("\0")[:-1]
    assert sorted(each for each in found if not each.startswith("PWD=")) == sorted(map("=".join, given.items()))


@feature("environment")
def test_a_variable_may_be_empty(run: Runner) -> None:
    assert b"EMPTY=\0" in run(modules.ENVIRONMENT, flags=("--env", "EMPTY=")).out


@feature("working directory")
@claims("cwd")
def test_the_working_directory_is_passed_in_a_variable(run: Runner) -> None:
    assert run(modules.FIRST_PREOPEN).out == b"/"
    first = run(modules.FIRST_PREOPEN, flags=("--workdir", "/work")).out
    told = run(modules.ENVIRONMENT, flags=("--workdir", "/work")).out
    # PWD, which the guest's library reads; a second preopen would hide files of the first.
    assert first == b"/"
    assert b"PWD=/work\0" in told


@feature("files: reading")
def test_files_of_the_root_and_of_mounts_can_be_read(run: Runner) -> None:
    (run.directory / "note").write_text("a note")
    mount = ("--volume", f"{run.directory}:/data")
    assert run(modules.reads("data/note"), flags=mount) == Ended(0, b"a note", "")
    assert run(modules.reads("data/none"), flags=mount).code == modules.NOT_FOUND


@feature("files: reading from a read-only mount")
@claims("read-only")
def test_files_of_a_read_only_mount_can_be_read(run: Runner) -> None:
    (run.directory / "note").write_text("a note")
    mount = ("--volume", f"{run.directory}:/data:ro")
    assert run(modules.reads("data/note"), flags=mount) == Ended(0, b"a note", "")


@feature("files: writing")
def test_a_writable_mount_can_be_written(run: Runner) -> None:
    (run.directory / "out").mkdir()
    ended = run(modules.writes("out/new", "text"), flags=("--volume", f"{run.directory / 'out'}:/out"))
    assert ended.code == 0, ended.err
    assert (run.directory / "out/new").read_text() == "text"


@feature("files: a read-only mount stays so")
def test_a_read_only_mount_cannot_be_written(run: Runner) -> None:
    (run.directory / "out").mkdir()
    ended = run(modules.writes("out/new", "text"), flags=("--volume", f"{run.directory / 'out'}:/out:ro"))
    assert ended.code not in _NOT_RUN
    assert not (run.directory / "out/new").exists()


@feature("large output")
def test_a_large_output_is_complete(run: Runner) -> None:
    ended = run(modules.LARGE)
    assert (ended.code, len(ended.out)) == (0, modules.LARGE_BYTES)


@feature("input and its end")
def test_input_is_read_until_end_of_file(run: Runner) -> None:
    data = os.urandom(300_000)
    assert run(modules.COPIES_INPUT, flags=("--interactive",), stdin=data) == Ended(0, data, "")
    assert run(modules.COPIES_INPUT) == Ended(0, b"", "")


@feature("signals")
@pytest.mark.parametrize("guest", ["spins", "waits"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGQUIT, 131)])
def test_a_signal_ends_a_guest_at_once(run: Runner, guest: str, number: int, code: int) -> None:
    source, flags = (modules.SPINS, ()) if guest == "spins" else (modules.WAITS, ("--interactive",))
    with subprocess.Popen(
        run.command(source, flags=flags), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(_SECONDS) == code
        assert time.monotonic() - began < _PROMPT_SECONDS


@feature("limit: memory")
@claims("memory")
def test_memory_cannot_grow_beyond_the_limit(run: Runner) -> None:
    assert run(modules.grows(2048), flags=("--memory", "64m")).code == 1
    assert run(modules.grows(64), flags=("--memory", "64m")).code == 0


@feature("limit: fuel")
@claims("fuel")
def test_a_guest_without_fuel_traps(run: Runner) -> None:
    ended = run(modules.SPINS, flags=("--annotation", "io.pelagos.wasm.fuel=100000"))
    assert (ended.code, ended.out) == (134, b"ready\n")
    enough = run(modules.says("hello"), flags=("--annotation", "io.pelagos.wasm.fuel=100000000"))
    assert (enough.code, enough.out) == (0, b"hello")


@feature("a limit that is not claimed is refused")
def test_a_limit_of_fuel_is_refused_without_the_claim(run: Runner, request: pytest.FixtureRequest) -> None:
    from pelagos_core.conformance.plugin import claims as claimed

    if "fuel" in claimed(request.config):
        pytest.skip("fuel is claimed")
    ended = run(modules.says("hello"), flags=("--annotation", "io.pelagos.wasm.fuel=100000000"))
    assert (ended.code, ended.out) == (126, b"")
    assert "limit of fuel" in ended.err


def _policy(**words: str) -> tuple[str, ...]:
    return tuple(part for key, word in words.items() for part in ("--annotation", f"io.pelagos.wasm.{key}={word}"))


@feature("a policy: directories, variables, input, a deadline")
def test_directories_that_a_policy_removes_are_missing(area: Area, fresh: Callable[..., Guest]) -> None:
    (area.path / "note").write_text("a note")
    guest = fresh(flags=_policy(dirs=area.name))
    fd = guest.directory(area.name)
    assert guest.read(guest.open(fd, "note"), 10) == b"a note"
    guest.create(fd, "new", b"text")
    assert (area.path / "new").read_text() == "text"
    guest = fresh(flags=_policy(dirs=f"{area.name}:ro"))
    assert guest.refused(guest.directory(area.name), "newer", CREAT, base=Rights.FD_WRITE) is not Errno.SUCCESS
    assert not (area.path / "newer").exists()
    guest = fresh(flags=_policy(dirs="none"))
    for fd in guest.preopens().values():  # some engines add an empty preopen
        assert guest.refused(fd, f"{area.name}/note".lstrip("/"), base=Rights.FD_READ) is not Errno.SUCCESS


@feature("a policy: directories, variables, input, a deadline")
def test_variables_that_a_policy_removes_are_missing(run: Runner) -> None:
    variables = ("--env", "A=1", "--env", "B=2")
    assert b"B=2\0" in run(modules.ENVIRONMENT, flags=(*variables, *_policy(env="B"))).out
    assert b"A=" not in run(modules.ENVIRONMENT, flags=(*variables, *_policy(env="B"))).out


@feature("a policy: directories, variables, input, a deadline")
def test_a_deadline_ends_a_guest_in_an_endless_loop(run: Runner) -> None:
    ended = run(modules.SPINS, flags=_policy(deadline="500ms"))
    assert (ended.code, ended.out) == (124, b"ready\n")


@feature("concurrent containers")
def test_containers_run_side_by_side(run: Runner) -> None:
    command = run.command(modules.COPIES_INPUT, flags=("--interactive",))
    many = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    outputs = [process.communicate(b"%d" % number, timeout=_SECONDS)[0] for number, process in enumerate(many)]
    assert outputs == [b"%d" % number for number in range(6)]
    assert [process.returncode for process in many] == [0] * 6


@feature("bad modules are refused before Start")
@pytest.mark.parametrize("name", modules.BAD)
def test_a_bad_module_is_refused(run: Runner, name: str) -> None:
    ended = run(modules.BAD[name])
    assert ended.code == 126, ended
    assert "guest.wasm" in ended.err


@feature("unknown imports are refused by name")
@pytest.mark.parametrize(
    ("source", "name"),
    [(modules.UNKNOWN_IMPORT, "has_this"), (modules.UNKNOWN_WASI_FUNCTION, "no_such"), (modules.NO_START, "_start")],
)
def test_an_unknown_import_is_refused_by_name(run: Runner, source: str, name: str) -> None:
    ended = run(source)
    assert ended.code == 126, ended
    assert name in ended.err


@feature("path#function")
@claims("function")
def test_an_exported_function_is_an_entry_point(run: Runner) -> None:
    assert run(modules.FUNCTIONS, func="five").code == 5
    assert run(modules.FUNCTIONS, func="takes").code == 126
    assert run(modules.FUNCTIONS, func="none").code == 126


@feature("path#function")
@claims("function")
def test_a_library_is_initialized_once_before_its_function(run: Runner) -> None:
    assert run(modules.LIBRARY, func="ready").code == 1


@feature("arguments and results of a function")
@claims("function-values")
@pytest.mark.parametrize(("func", "words", "out"), modules.CALLS)
def test_a_function_gets_arguments_and_its_result_is_printed(
    run: Runner, func: str, words: tuple[str, ...], out: bytes
) -> None:
    assert run(modules.VALUES, *words, func=func) == Ended(0, out, "")


@feature("arguments and results of a function")
@claims("function-values")
@pytest.mark.parametrize("words", [(), ("1",), ("1", "x"), ("1", "4294967296"), ("1", "2", "3")])
def test_wrong_arguments_of_a_function_are_refused(run: Runner, words: tuple[str, ...]) -> None:
    ended = run(modules.VALUES, *words, func="add")
    assert (ended.code, ended.out) == (126, b""), ended
    assert "add(i32, i32) -> i32" in ended.err


@feature("WebAssembly text")
@claims("wat")
def test_a_module_in_text_format_runs(run: Runner) -> None:
    assert run(modules.says("hello").encode()) == Ended(0, b"hello", "")


@feature("answers that are kept")
@pytest.mark.parametrize("is_text", [False, True])
def test_a_stored_answer_depends_only_on_the_file(run: Runner, *, is_text: bool) -> None:
    data = modules.ARGUMENTS.encode() if is_text else modules.binary(modules.ARGUMENTS)
    answers = []
    for name in ("guest.wasm", "other/name", "more/guest.wat"):
        path = run.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        answers.append(run.explained(path))
    assert len({answer["score"] for answer in answers}) == 1 or not any(answer["kept"] for answer in answers)


@feature("compiled code is kept")
@claims("ahead-of-time")
def test_a_module_is_compiled_once_and_behaves_the_same_afterwards(kept: KeptCode, run: Runner) -> None:
    first = run(modules.ARGUMENTS, "a", "b")
    code = kept.code()
    before = code.stat()
    again = run(modules.ARGUMENTS, "a", "b")
    assert again == first
    assert (first.code, first.out.removeprefix(b"/")) == (0, b"guest.wasm\0a\0b\0")
    assert kept.code().stat() == before
    assert run(modules.leaves(42)) == run(modules.leaves(42)) == Ended(42, b"", "")
    trap = modules.TRAPS["unreachable"]
    assert [run(trap).code, run(trap).code] == [134, 134]


@feature("compiled code is kept")
@claims("ahead-of-time")
def test_checks_are_the_same_with_cached_code(kept: KeptCode, run: Runner) -> None:
    for _ in range(2):
        ended = run(modules.UNKNOWN_IMPORT)
        assert (ended.code, "has_this" in ended.err) == (126, True)
    assert run(modules.FUNCTIONS).code == 1
    assert kept.code()
    assert [run(modules.FUNCTIONS, func=name).code for name in ("takes", "none")] == [126, 126]


@feature("compiled code is kept")
@claims("ahead-of-time")
@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x7fELF" + bytes(4096)])
def test_damaged_code_is_compiled_again(kept: KeptCode, run: Runner, data: bytes) -> None:
    assert run(modules.says("hello")) == Ended(0, b"hello", "")
    kept.replace(data)
    assert run(modules.says("hello")) == Ended(0, b"hello", "")
    assert kept.code().stat().st_size > len(data)


@feature("compiled code is kept")
@claims("ahead-of-time")
@pytest.mark.parametrize("data", [b"nonsense", b"\x7fELF" + bytes(4096)])
def test_code_that_the_engine_refuses_is_compiled_again(kept: KeptCode, run: Runner, data: bytes) -> None:
    """The case of an upgrade that has not changed the key: `spawn` raises UnusableCode."""
    assert run(modules.says("hello")) == Ended(0, b"hello", "")
    kept.replace(data, sealed=True)
    assert run(modules.says("hello")) == Ended(0, b"hello", "")
    assert kept.code().stat().st_size != len(data)


@feature("compiled code is kept")
@claims("ahead-of-time", "fuel")
def test_code_with_and_without_a_limit_of_fuel_has_two_entries(kept: KeptCode, run: Runner) -> None:
    fuel = ("--annotation", "io.pelagos.wasm.fuel=100000")
    for _ in range(2):
        assert run(modules.says("hello")) == Ended(0, b"hello", "")
        assert run(modules.SPINS, flags=fuel).code == 134
        assert run(modules.says("hello"), flags=fuel) == Ended(0, b"hello", "")


@feature("world: WASI 0.2 command")
@claims("component", "wasi-0.2")
def test_a_component_runs(run: Runner) -> None:
    assert run(modules.COMPONENT) == Ended(0, b"", "")


@feature("a world that is not claimed is refused")
def test_a_component_is_refused_if_the_engine_cannot_run_it(run: Runner, request: pytest.FixtureRequest) -> None:
    from pelagos_core.conformance.plugin import claims as claimed

    if "component" in claimed(request.config):
        pytest.skip("components are claimed")
    ended = run(modules.COMPONENT)
    assert (ended.code, ended.out) == (126, b"")
    assert "component" in ended.err


@feature("beside a backend that goes wrong")
@pytest.mark.parametrize("name", [name for name in FAULTY if name not in SLOW])
def test_a_faulty_second_backend_is_reported_and_has_no_effect(tmp_path: Path, backend: str, name: str) -> None:
    python = environment_with(tmp_path / "venv", **{name: FAULTY[name]})
    assert Runner(tmp_path, backend, python)(modules.says("hello")) == Ended(0, b"hello", "")
    asked = Runner(tmp_path, name, python)(modules.says("hello"))
    assert asked.code in (125, 126), asked
    assert name in asked.err
    auto = Runner(tmp_path, "auto", python)(modules.says("hello"))
    if name in WILLING:
        assert name in auto.err
    else:
        assert (auto.code, auto.out) == (0, b"hello")
