"""What containerd's own config comes to, by each containerd that there is: asked of the real programs."""

import os
import shutil
import subprocess

import pytest

from pelagos_core.cli import containerd_config
from pelagos_core.cli.containerd_config import Containerd, registration
from tests.support import provision

OLD, NEW = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
RELEASES = provision.RELEASES

pytestmark = pytest.mark.containerd


def of(release, tmp_path, text):
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text)
    return registration(Containerd(str(provision.containerd_directory(release) / "usr/bin/containerd"), str(path)))


def table(name, kind="io.containerd.pelagos.wasm.v1", version=""):
    line = f"version = {version}\n" if version else ""
    return f'{line}[plugins."{name}".containerd.runtimes.pelagos]\n  runtime_type = "{kind}"\n'


@pytest.mark.parametrize("kind", ["io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_version_2_file_registers_it_for_every_containerd(tmp_path, release, kind):
    found = of(release, tmp_path, table(OLD, kind, "2"))
    assert (found.handlers, found.problem, found.lines) == (("pelagos",), "", "")


@pytest.mark.parametrize("release", RELEASES)
def test_an_imported_file_counts(tmp_path, release):
    (tmp_path / "more.toml").write_text(table(OLD, version="2"))
    assert of(release, tmp_path, f'version = 2\nimports = ["{tmp_path}/more.toml"]\n').handlers == ("pelagos",)


def test_version_3_is_containerd_2s_alone(tmp_path):
    assert of("sid", tmp_path, table(NEW, version="3")).handlers == ("pelagos",)
    assert of("trixie", tmp_path, table(NEW, version="3")).broken
    found = of("bookworm", tmp_path, table(NEW, version="3"))
    assert (found.handlers, found.lines.splitlines()[0]) == ((), "version = 2")


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_without_a_version_is_told_so(tmp_path, release):
    found = of(release, tmp_path, table(OLD))
    if release == provision.BUILT:  # 2.4 reads such a file as one of version 2
        assert (found.handlers, found.problem) == (("pelagos",), "")
        return
    assert found.handlers == ()
    assert "has no line `version`" in found.problem
    assert found.lines.startswith("version = ")


def test_the_old_tables_name_in_a_version_3_file_is_told(tmp_path):
    found = of("sid", tmp_path, table(OLD, version="3"))
    assert found.handlers == ()
    assert "in a table that containerd does not read" in found.problem
    assert found.lines.startswith(f'[plugins."{NEW}".containerd.runtimes.pelagos]')


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("text", ["version = 2\n", "", None, "version = 2\n# io.containerd.pelagos.wasm.v1\n"])
def test_the_lines_that_are_named_register_it(tmp_path, release, text):
    found = of(release, tmp_path, text)
    assert found.handlers == ()
    assert found.problem
    assert of(release, tmp_path, f"{text or ''}{found.lines}\n").handlers == ("pelagos",)


@pytest.mark.parametrize("release", RELEASES)
def test_a_wrong_type_and_a_disabled_cri_are_named(tmp_path, release):
    assert "runtime 'pelagos' has runtime_type 'io.containerd.pelagos.v1'" in (
        of(release, tmp_path, table(OLD, "io.containerd.pelagos.v1", "2")).problem
    )
    disabled = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' + table(OLD)
    assert "take 'io.containerd.grpc.v1.cri' out of disabled_plugins" in of(release, tmp_path, disabled).problem


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_that_containerd_refuses_is_told_in_its_words(tmp_path, release):
    found = of(release, tmp_path, "version = 2\nnonsense\n")
    assert found.broken
    assert "containerd refuses its config: failed to" in found.problem


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["containerd"], "/etc/containerd/config.toml"),
        (["containerd", "-c", "/a.toml"], "/a.toml"),
        (["containerd", "--config=/b.toml", "-l", "debug"], "/b.toml"),
        (["containerd", "--config", "c.toml"], f"{os.getcwd()}/c.toml"),
        (["containerd", "--config"], os.getcwd() + "/"),
    ],
)
def test_the_config_of_one_that_runs_is_on_its_command_line(words, path):
    assert containerd_config._config_of(words, os.getcwd()) == path


def test_the_program_of_a_containerd_that_was_upgraded_is_the_new_one(tmp_path):
    program = tmp_path / "containerd"
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            program.unlink()
            shutil.copy(shutil.which("sleep"), program)
            # Its words are not there yet when execve(2) closes the pipe by which Popen knows of it.
            found = None
            while found is None and process.poll() is None:
                found = containerd_config._process(str(process.pid))
        finally:
            process.kill()
    assert (found.program, found.running) == (str(program), True)
