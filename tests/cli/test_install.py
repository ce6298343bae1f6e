"""`pelagos install` and `uninstall`, on a directory that has files of others in it."""

import configparser
import json
import os
import shlex
import stat
import subprocess
import sys

from pelagos_core import __version__
from pelagos_core.cli import launcher
from pelagos_core.cli.launcher import NAMES, UNIT


def pelagos(*words):
    return subprocess.run([sys.executable, "-m", "pelagos_core", *map(str, words)], capture_output=True, text=True)


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


def test_installing_twice_and_uninstalling_twice_is_fine(tmp_path):
    for _ in range(2):
        assert pelagos("install", "--bin-dir", tmp_path).returncode == 0
    (tmp_path / "other").write_text("mine")
    assert pelagos("uninstall", "--bin-dir", tmp_path).stdout.count("removed") == 2
    assert os.listdir(tmp_path) == ["other"]
    done = pelagos("uninstall", "--bin-dir", tmp_path)
    assert (done.returncode, done.stdout) == (0, "nothing to be removed\n")


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(tmp_path):
    (tmp_path / NAMES[0]).write_text("mine")
    done = pelagos("install", "--bin-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"pelagos: file '{tmp_path / NAMES[0]}' was not written by pelagos (--force replaces it)\n"
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
    assert "Stay as the zygote" in said.stdout
    assert str(units / UNIT) in pelagos("uninstall", *words).stdout
    assert os.listdir(units) == ["other.service"]


def test_a_machine_reads_json(tmp_path):
    done = pelagos("install", "--bin-dir", tmp_path, "--json")
    assert json.loads(done.stdout) == {"installed": [str(tmp_path / name) for name in NAMES]}
    done = pelagos("uninstall", "--bin-dir", tmp_path, "--json")
    assert json.loads(done.stdout) == {"removed": [str(tmp_path / name) for name in NAMES]}


def test_a_missing_directory_is_named(tmp_path):
    done = pelagos("install", "--bin-dir", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"pelagos: directory '{tmp_path / 'none'}' does not exist\n")
