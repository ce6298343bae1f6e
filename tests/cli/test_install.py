"""`pelagos install` and `uninstall`, on a directory that has files of others in it."""

import configparser
import errno
import json
import os
import shlex
import signal
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pelagos_core import __version__
from pelagos_core.cli import containerd, install, launcher, replacement
from pelagos_core.cli.command_line import cli
from pelagos_core.cli.launcher import NAMES, UNIT
from pelagos_core.errors import FailedPrecondition
from tests.support import provision
from tests.support.containerd import Containerd, until


def run(*words, **environment):
    command = [sys.executable, "-m", "pelagos_core", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def pelagos(name, *words):
    """One of the two commands on the launchers alone."""
    return run(name, "--no-containerd", *words)


def test_both_launchers_are_written_and_run(tmp_path):
    done = pelagos("install", "--bin-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == [f"installed {tmp_path / name}" for name in NAMES]
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES)
    for name in NAMES:
        assert os.stat(tmp_path / name).st_mode & 0o777 == 0o755
        said = subprocess.run([tmp_path / name, "-v"], capture_output=True, text=True)
        assert (said.stdout, said.stderr) == (f"{name}:\n  Version:  {__version__}\n", "")


def test_each_kind_of_launcher_takes_the_others_place(tmp_path):
    for content in (launcher.source().encode(), launcher.program()):
        (tmp_path / NAMES[0]).write_bytes(content)
        assert pelagos("install", "--bin-dir", tmp_path).returncode == 0
        assert (tmp_path / NAMES[0]).read_bytes() == launcher.program()


@pytest.mark.parametrize(("user", "remedy"), [(1000, ": run it as root"), (0, "")])
def test_what_only_root_may_write_says_so_to_a_user(tmp_path, monkeypatch, user, remedy):
    def refused(change):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(replacement, "apply", refused)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(FailedPrecondition, match=rf"'/x/y' cannot be written: Permission denied{remedy}$"):
        install._apply(replacement.Change("/x/y", None, b""))


def test_installing_twice_and_uninstalling_twice_is_fine(tmp_path):
    for _ in range(2):
        assert pelagos("install", "--bin-dir", tmp_path).returncode == 0
    (tmp_path / "other").write_text("mine")
    assert pelagos("uninstall", "--bin-dir", tmp_path).stdout.count("removed") == 2
    assert os.listdir(tmp_path) == ["other"]
    done = pelagos("uninstall", "--bin-dir", tmp_path)
    assert (done.returncode, done.stdout) == (0, "nothing to be removed\n")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("install", "no containerd is there to register with: install it and call this again"),
        ("uninstall", "no containerd is there to take the runtime away from"),
    ],
)
def test_a_node_without_containerd_gets_a_message_that_says_what_that_means(tmp_path, monkeypatch, name, line):
    monkeypatch.setattr(containerd, "find", lambda: None)
    done = CliRunner().invoke(cli, [name, "--bin-dir", str(tmp_path)], prog_name="pelagos")
    assert (done.exit_code, done.stderr) == (0, f"pelagos: {name}: {line}\n")


def test_a_file_of_another_program_is_neither_replaced_nor_removed(tmp_path):
    (tmp_path / NAMES[0]).write_text("mine")
    done = pelagos("install", "--bin-dir", tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"pelagos: install: file '{tmp_path / NAMES[0]}' was not written by pelagos (--force replaces it)\n"
    )
    assert os.listdir(tmp_path) == [NAMES[0]]
    assert "left alone" in pelagos("uninstall", "--bin-dir", tmp_path).stderr
    assert (tmp_path / NAMES[0]).read_text() == "mine"
    assert pelagos("install", "--bin-dir", tmp_path, "--force").returncode == 0


def test_the_unit_is_written_where_it_is_asked_for_and_its_program_can_be_run(tmp_path):
    units = tmp_path / "units"
    units.mkdir()
    (units / "other.service").write_text("mine")
    words = ["--bin-dir", tmp_path, "--systemd-dir", units]
    assert f"systemctl enable --now {UNIT}" in pelagos("install", *words).stdout
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(units / UNIT)
    assert stat.S_IMODE(os.stat(units / UNIT).st_mode) == 0o644
    said = subprocess.run([*shlex.split(unit["Service"]["ExecStart"]), "--help"], capture_output=True, text=True)
    assert "Run the zygote" in said.stdout
    assert str(units / UNIT) in pelagos("uninstall", *words).stdout
    assert os.listdir(units) == ["other.service"]


def test_a_machine_reads_json(tmp_path):
    done = pelagos("install", "--bin-dir", tmp_path, "--json")
    assert json.loads(done.stdout) == {"installed": [str(tmp_path / name) for name in NAMES]}
    done = pelagos("uninstall", "--bin-dir", tmp_path, "--json")
    assert json.loads(done.stdout) == {"removed": [str(tmp_path / name) for name in NAMES]}


def test_a_missing_directory_is_named(tmp_path):
    done = pelagos("install", "--bin-dir", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"pelagos: install: directory '{tmp_path / 'none'}' does not exist\n")


def test_a_dry_run_shows_what_would_be_changed_and_changes_nothing(tmp_path):
    units = tmp_path / "units"
    units.mkdir()
    done = pelagos("install", "--bin-dir", tmp_path, "--systemd-dir", units, "--dry-run")
    assert done.returncode == 0
    assert f"Binary file {tmp_path / NAMES[0]}: 0 bytes before" in done.stdout
    assert f"--- /dev/null\n+++ {units / UNIT}\n" in done.stdout
    assert "+[Service]\n" in done.stdout
    assert "installed" not in done.stdout
    assert (sorted(os.listdir(tmp_path)), os.listdir(units)) == (["units"], [])
    found = json.loads(pelagos("install", "--bin-dir", tmp_path, "--dry-run", "--json").stdout)
    assert found["to_be_installed"] == [str(tmp_path / name) for name in NAMES]


def test_installing_again_says_that_nothing_is_to_be_done(tmp_path):
    pelagos("install", "--bin-dir", tmp_path)
    before = {name: os.stat(tmp_path / name).st_ino for name in NAMES}
    assert pelagos("install", "--bin-dir", tmp_path).stdout.startswith("nothing to be installed\n")
    assert {name: os.stat(tmp_path / name).st_ino for name in NAMES} == before


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/hostname"), os.mkfifo])
def test_what_is_no_file_in_a_launchers_place_is_refused_and_goes_by_force(tmp_path, make):
    make(tmp_path / NAMES[0])
    assert "was not written by pelagos" in pelagos("install", "--bin-dir", tmp_path).stderr
    assert pelagos("install", "--bin-dir", tmp_path, "--force").returncode == 0
    assert not (tmp_path / NAMES[0]).is_symlink()


def test_a_directory_that_every_user_can_write_to_gets_no_launcher(tmp_path):
    tmp_path.chmod(0o777)
    done = pelagos("install", "--bin-dir", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"directory '{tmp_path}' can be written to by every user" in done.stderr


@pytest.mark.root
def test_a_full_disk_and_a_directory_without_programs_are_reported(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    for options, text in (("size=4k", "No space left on device"), ("noexec", "cannot be executed: ")):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "none", place], check=True)
        try:
            done = pelagos("install", "--bin-dir", place)
            assert done.returncode == 1
            assert text in done.stderr
            assert not [name for name in os.listdir(place) if name not in NAMES]
        finally:
            subprocess.run(["umount", place], check=True)


OLD = "io.containerd.grpc.v1.cri"


@pytest.mark.containerd
@pytest.mark.parametrize("release", provision.RELEASES)
def test_a_node_is_made_ready_and_left_as_it_was(tmp_path, release):
    """The containerd of the config runs, and says what it knows, before and after its restart."""
    (tmp_path / "bin").mkdir()
    daemon = Containerd(tmp_path / "bin", release=release, cri=f'[plugins."{OLD}".registry]\n  config_path = "/x"\n')
    words = ["--bin-dir", tmp_path / "bin", "--containerd-config", daemon.directory / "config.toml"]
    try:
        before = (daemon.directory / "config.toml").read_bytes()
        shown = run("install", *words, "--dry-run")
        assert f"+++ {daemon.directory / 'config.toml'}" in shown.stdout
        assert '+  runtime_type = "io.containerd.pelagos.wasm.v1"' in shown.stdout
        assert (daemon.directory / "config.toml").read_bytes() == before

        done = run("install", *words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert (said["handlers"], said["restart_needed"], len(said["installed"])) == (["pelagos"], True, 3)
        daemon.restart()
        until(lambda: run("install", *words).returncode == 0, 30, lambda: run("install", *words).stderr)
        done = run("install", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "has the runtime as handler 'pelagos'" in done.stdout
        assert "restarted" not in done.stdout
        done = run("install", "--bin-dir", tmp_path, *words[2:], "--dry-run")
        assert f"{tmp_path} is not on containerd's PATH ({tmp_path / 'bin'}:" in done.stderr

        done = run("uninstall", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "containerd has to be restarted" in done.stdout
        assert (daemon.directory / "config.toml").read_bytes() == before
        assert os.listdir(tmp_path / "bin") == []
    finally:
        daemon.close()


@pytest.mark.containerd
def test_where_containerd_has_its_cri_disabled_nothing_is_written(tmp_path):
    (tmp_path / "bin").mkdir()
    daemon = Containerd(tmp_path / "elsewhere")
    try:
        words = ["--bin-dir", tmp_path / "bin", "--containerd-config", daemon.directory / "config.toml"]
        done = run("install", *words)
        assert done.returncode == 1
        assert "has the CRI disabled" in done.stderr
        assert os.listdir(tmp_path / "bin") == []  # all or nothing
    finally:
        daemon.close()


@pytest.mark.root
def test_an_environment_that_another_user_can_change_is_reported(tmp_path):
    """containerd would execute it as root."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    paths = [path for path in sys.path if path.endswith("site-packages")] + [os.getcwd()]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (venv / f"lib/{version}/site-packages/all.pth").write_text("\n".join(paths))
    os.chown(venv, 1234, 1234)
    words = [venv / "bin/python", "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0
    assert (
        f"containerd executes as root what others can replace: directory '{venv}' belongs to user 1234" in done.stderr
    )


_KILLED = """
import os, signal, sys
step, count = int(sys.argv.pop(1)), 0
def counting(event, arguments):
    global count
    # What changes a file of the node; the directory of the trial is not one.
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir") or writes:
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
from pelagos_core.cli.command_line import execute
sys.addaudithook(counting)
sys.exit(execute())
"""


@pytest.mark.containerd
@pytest.mark.slow
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_killed_at_any_step_the_next_command_makes_it_whole(tmp_path, tmp_path_factory, command):
    """Launchers, and an entry in a directory that is made for it: at no step does the config name what is not there."""
    program = provision.containerd_directory("sid") / "usr/bin/containerd"
    etc, bin_dir = tmp_path / "etc", tmp_path / "bin"
    etc.mkdir()
    bin_dir.mkdir()
    (etc / "config.toml").write_text(f"version = 3\nimports = ['{etc}/conf.d/*.toml']\n")
    words = ["--bin-dir", bin_dir, "--containerd-config", etc / "config.toml"]
    # What is asked of containerd is in a temporary directory, which a killed command leaves.
    path = {"PATH": f"{program.parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path_factory.mktemp("trials"))}

    def tree():
        return {str(each): each.read_bytes() if each.is_file() else None for each in sorted(tmp_path.rglob("*"))}

    before = tree()
    assert run("install", *words, **path).returncode == 0
    installed = tree()
    for step in range(1, 60):
        if command == "install":
            assert run("uninstall", *words, **path).returncode == 0
        line = [sys.executable, "-c", _KILLED, str(step), command, *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **path})
        if (etc / "conf.d/pelagos.toml").exists():
            assert set(os.listdir(bin_dir)) >= set(NAMES)
        assert run("install", *words, **path).returncode == 0
        assert tree() == installed
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            break
    assert step > {"install": 6, "uninstall": 3}[command]
    assert run("uninstall", *words, **path).returncode == 0
    assert tree() == before


def test_two_installations_at_once_end_as_one(tmp_path):
    words = [sys.executable, "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", tmp_path]
    running = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(4)]
    for process in running:
        error = process.communicate()[1]
        # A command that has read the directory before another wrote to it fails with the reason.
        assert process.returncode == 0 or "has been changed meanwhile: run the command again" in error
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES)
    assert pelagos("install", "--bin-dir", tmp_path).stdout.startswith("nothing to be installed")
