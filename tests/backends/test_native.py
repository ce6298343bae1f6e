"""The backend of native programs, as far as no container is needed; see integration/test_native.py."""

import os

import pytest

from pelagos_core.backends import native
from pelagos_core.backends.registry import NATIVE, Backends, Plugin
from pelagos_core.backends.selection import Preference, Selection
from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, sniff
from tests.backends.test_registry import ENTRYPOINT, bundle, load, scoring
from tests.support.child import in_child


def script(tmp_path, text, mode=0o755, **fields):
    path = tmp_path / "script"
    path.write_text(text)
    path.chmod(mode)
    file = os.open(path, os.O_RDONLY)
    words = {"args": (str(path), "x"), "env": ("A=1", "B=ö", "A=2"), "cwd": "/", "func": "", **fields}
    return Entrypoint(kind=sniff(text.encode()), path=str(path), file=file, **words)


def spawned(entrypoint):
    try:
        return native.pelagos_spawn(entrypoint)
    finally:
        os.close(entrypoint.file)


@pytest.mark.parametrize("kind", Kind)
def test_it_answers_for_native_programs_only(kind):
    answer = NATIVE.detect(bundle(), Entrypoint(kind, "/x", "", (), (), "/", -1))
    assert (answer is not None) is kind.is_native


@pytest.mark.parametrize("wanted", ["auto", "a", "none-such"])
def test_no_other_backend_is_called_for_a_native_program(wanted):
    entrypoint = Entrypoint(Kind.ELF, "/x", "", (), (), "/", -1)
    choice = Selection(load(a=scoring(100)), Preference(wanted)).choose(bundle(), entrypoint)
    assert (choice.backend.name, choice.reason, choice.able) == ("native", "native program", ["native"])


def test_it_is_no_engine_that_can_be_asked_for():
    installed = load(a=scoring(50))
    selection = Selection(installed, Preference("native", "a test"))
    choice = selection.choose(bundle(), ENTRYPOINT)
    assert choice.backend is None
    assert "'native', asked for by a test, is not installed" in str(selection.refusal(ENTRYPOINT, choice))
    assert NATIVE not in installed.installed
    assert installed.named("native") is NATIVE


def test_no_package_takes_its_name():
    failure = Backends.load([Plugin("native", "1", lambda: None)]).failures[0]
    assert "it belongs to pelagos itself" in failure.reason


def test_the_program_takes_the_place_of_the_process(tmp_path):
    said = tmp_path / "said"
    text = f"#!/bin/sh\necho $0 $1 $A $B > {said}\n(exec grep SigIgn /proc/self/status) >> {said}\nexit 7\n"
    workload = spawned(script(tmp_path, text))
    pid = os.fork()
    if pid == 0:
        os._exit(workload())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert said.read_text().split() == [str(tmp_path / "script"), "x", "2", "ö", "SigIgn:", "0" * 16]


@pytest.mark.parametrize(
    ("text", "mode", "fields", "error", "message"),
    [
        ("#!/bin/sh\n", 0o644, {}, PermissionDenied, "permission denied"),
        ("#!/no/such -x\n", 0o755, {}, NotFound, "its interpreter '/no/such' is not in the container"),
        ("#!  \n", 0o755, {}, InvalidArgument, "names no interpreter"),
        ("#!/bin/sh\n", 0o755, {"func": "main"}, InvalidArgument, "has no function 'main'"),
    ],
)
def test_what_cannot_run_is_refused_before_start(tmp_path, text, mode, fields, error, message):
    with pytest.raises(error, match=rf"exec '.*script': .*{message}"):
        spawned(script(tmp_path, text, mode, **fields))


@pytest.mark.parametrize(
    ("damage", "code", "reason"),
    [(os.unlink, 127, "no such file or directory"), (lambda path: os.chmod(path, 0), 126, "permission denied")],
)
def test_what_fails_at_start_has_a_shells_exit_code_and_one_line(tmp_path, damage, code, reason):
    workload = spawned(script(tmp_path, "#!/bin/sh\n"))
    damage(tmp_path / "script")

    def run():
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        return workload(), os.read(reader, 1000).decode()

    assert in_child(run) == (code, f"pelagos: exec '{tmp_path}/script': {reason}\n")
