"""Which containerd a host has: by its process, with its config, its PATH and its service."""

import os
import shutil
import subprocess

import pytest

from pelagos_core.cli import containerd
from pelagos_core.cli.containerd import DEFAULT_CONFIG, Containerd


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
    assert containerd._config_of(words, os.getcwd()) == path


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
                found = containerd.of_process(str(process.pid))
        finally:
            process.kill()
    assert (found.program, found.running) == (str(program), True)


@pytest.fixture
def running(tmp_path):
    """A process that is a containerd by its words; a function that starts it and says what it is taken for."""
    processes = []

    def start(environment=None, name="containerd"):
        program = tmp_path / str(len(processes)) / name
        program.parent.mkdir()
        shutil.copy(shutil.which("sh"), program)
        words = ["containerd", "-c", "read x"]  # a shell that waits
        process = subprocess.Popen(words, executable=program, env=environment, stdin=subprocess.PIPE)
        processes.append(process)
        found = None
        while found is None and process.poll() is None:
            found = containerd.of_process(str(process.pid))
        return found

    yield start
    for process in processes:
        process.kill()
        process.stdin.close()
        process.wait()


def test_its_path_is_read_off_its_process(running):
    assert running(environment={"PATH": "/opt/x/bin:/usr/bin"}).directories == ("/opt/x/bin", "/usr/bin")
    assert "/usr/local/bin" in running(environment={}).directories  # systemd's


def test_that_of_k3s_is_one_program_with_many_names(running, tmp_path):
    assert running(name="k3s").program == str(tmp_path / "0/containerd")


@pytest.mark.parametrize(
    ("config", "node", "rancher"),
    [
        (DEFAULT_CONFIG, True, False),
        ("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", True, True),
        ("/data/rke2/agent/etc/containerd/config.toml", True, True),
        ("/var/run/docker/containerd/containerd.toml", False, False),
    ],
)
def test_a_nodes_is_distinguished_from_those_of_others(config, node, rancher):
    found = Containerd("/usr/bin/containerd", config)
    assert (found.is_of_the_node, found.of_rancher) == (node, rancher)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/containerd.service\n", "containerd.service"),
        ("0::/kubelet.slice/k3s.service/leaf\n", "k3s.service"),
        ("5:memory:/system.slice/x.service\n1:name=systemd:/system.slice/rke2-agent.service\n", "rke2-agent.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/\n", ""),
    ],
)
def test_its_service_is_that_of_its_control_group(monkeypatch, tmp_path, text, unit):
    (tmp_path / "cgroup").write_text(text)
    monkeypatch.setattr(containerd, "_cgroup_file", lambda pid: str(tmp_path / "cgroup"))
    assert containerd.unit(Containerd("", pid=7)) == unit


def test_one_that_does_not_run_has_no_service_and_is_not_old():
    assert containerd.unit(Containerd("")) == ""
    assert not containerd.is_older_than(Containerd(""), "/etc/hostname")


def test_a_file_that_is_newer_than_a_process_is_reported(running, tmp_path):
    (tmp_path / "before").write_text("x")
    found = running()
    (tmp_path / "after").write_text("x")
    while not containerd.is_older_than(found, str(tmp_path / "after")):
        (tmp_path / "after").write_text("y")
    assert not containerd.is_older_than(found, str(tmp_path / "before"))
