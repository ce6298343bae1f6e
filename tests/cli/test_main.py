"""The command as a whole: help, versions, mistakes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import click
import pytest

from pelagos_core import __version__
from pelagos_core.cli.command_line import cli

COMMANDS = cli.list_commands(click.Context(cli))


def pelagos(*words):
    return subprocess.run([sys.executable, "-m", "pelagos_core", *words], capture_output=True, text=True)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag):
    done = pelagos(flag)
    assert done.returncode == 0
    assert re.findall(r"^  ([a-z]+)  ", done.stdout.partition("Containers:\n")[2], re.MULTILINE) == COMMANDS
    assert "..." not in done.stdout.partition("Containers:\n")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    done = pelagos(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: pelagos {command}")


@pytest.mark.parametrize("words", [["--version"], ["version"], ["version", "--json"]])
def test_the_version_is_reported(words):
    assert __version__ in pelagos(*words).stdout
    assert set(json.loads(pelagos("version", "--json").stdout)) == {"pelagos", "python", "kernel"}


@pytest.mark.parametrize(("words", "message"), [(["fly"], "no such command"), (["--fly"], "no such option")])
def test_a_mistake_is_two_and_named(words, message):
    done = pelagos(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("pelagos: ")
    assert done.stderr.count("\n") == 1


def test_output_that_cannot_be_written_is_said_and_a_reader_that_left_is_not():
    command = [sys.executable, "-m", "pelagos_core", "version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "pelagos: version: standard output: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_interrupt_key_is_130_and_needs_no_words():
    slow = "import time; from pelagos_core.cli import main, version; version.platform.release = lambda: time.sleep(30);"
    command = [sys.executable, "-c", f"{slow} print(flush=True); import sys; sys.argv[1:] = ['version']; main.main()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == b""
