"""`pelagos run -p`: a guest's server, reached at a port of the host."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from scripts import engines
from tests.cli.test_ports import free_port, is_open, soon

pytestmark = [pytest.mark.container, pytest.mark.components, pytest.mark.engines]


@pytest.fixture
def command(tmp_path, components):
    """The words and the environment of `pelagos run`; the options go where the gap is."""
    (tmp_path / "config.toml").write_text(engines.config())
    environment = {**os.environ, "PELAGOS_CONFIG": str(tmp_path / "config.toml")}

    def words(*options, guest=("listen", "0.0.0.0:80"), before=()):
        run = [*before, sys.executable, "-m", "pelagos_core", "run", *options, str(components / "network.wasm"), *guest]
        return {"args": run, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    return words


@contextlib.contextmanager
def running(words):
    with subprocess.Popen(**words) as process:
        try:
            assert process.stdout.readline() == "listening\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def asked(port, text=b"hello", kind=socket.SOCK_STREAM, host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as client:
        client.settimeout(10)
        client.connect((host, port))
        client.send(text)
        return client.recv(100)


# A user namespace of one id is what a user without root gets from the command itself.
@pytest.mark.parametrize("before", [(), ("unshare", "--user", "--map-root-user")], ids=["as-it-is", "user-namespace"])
def test_a_server_is_reached_at_its_port_and_gone_with_its_command(command, before):
    port = free_port()
    with running(command("-p", f"{port}:80", before=before)) as process:
        assert asked(port) == b"hello"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert not is_open(port)


def test_udp_is_forwarded_too(command):
    port = free_port(socket.SOCK_DGRAM)
    with running(command("-p", f"127.0.0.1:{port}:7/udp", guest=("receive", "0.0.0.0:7"))):
        for text in (b"one", b"two"):
            assert asked(port, text, socket.SOCK_DGRAM) == text


def test_a_guest_that_listens_on_ipv6_alone_is_reached(command):
    port = free_port()
    with running(command("-p", f"127.0.0.1:{port}:80", guest=("listen", "[::]:80"))):
        assert asked(port) == b"hello"


def test_what_is_killed_leaves_no_port_and_no_process(command):
    port = free_port()
    with running(command("-p", f"127.0.0.1:{port}:80")) as process:
        assert asked(port) == b"hello"
        process.kill()
        process.wait()
        assert soon(lambda: not is_open(port))
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_that_is_taken_ends_the_command_before_there_is_a_container(command):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        words = command("-p", f"127.0.0.1:{port}:80")
        done = subprocess.run(**words, timeout=60)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"pelagos: run: port 127.0.0.1:{port}/tcp: Address already in use\n"


def test_a_detached_one_is_reached_until_it_is_stopped(command):
    port = free_port()
    done = subprocess.run(**command("-d", "--rm", "-p", f"127.0.0.1:{port}:80"), timeout=60)
    assert done.returncode == 0, done.stderr
    pelagos = [sys.executable, "-m", "pelagos_core"]
    try:
        assert soon(lambda: _is_answered(port))
    finally:
        subprocess.run([*pelagos, "kill", done.stdout.strip()], check=True)
    assert soon(lambda: not is_open(port))


def _is_answered(port):
    try:
        return asked(port) == b"hello"
    except OSError:
        return False


def test_the_hosts_network_is_refused_to_a_guest_unless_the_node_gives_it(command, tmp_path):
    done = subprocess.run(**command("--network", "host", guest=("connect", "127.0.0.1:1")), timeout=60)
    assert done.returncode == 125
    assert "--network host: the node's config gives it to no guest: host_network = true in " in done.stderr
    (tmp_path / "config.toml").write_text(f"host_network = true\n{engines.config()}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(**command("--network", "host", guest=("connect", address))) as process:
            server.settimeout(30)
            client, _ = server.accept()
            with client:
                client.sendall(client.recv(100))
            assert process.communicate(timeout=30)[0] == "hello\n"


def test_both_at_once_make_no_sense(command):
    done = subprocess.run(**command("--network", "host", "-p", "8080:80"), timeout=60)
    assert done.returncode == 125
    assert "--network host cannot be combined with -p" in done.stderr


def test_a_service_is_reached_at_its_port(command, components):
    port = free_port()
    words = command("-e", "UPSTREAM=localhost:1", "-p", f"127.0.0.1:{port}:8080", guest=())
    words["args"][-1] = str(components / "proxy.wasm")
    with subprocess.Popen(**words) as process:
        try:
            assert soon(lambda: b"HTTP/1.1 200" in _answered(port), 60)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def _answered(port):
    try:
        return asked(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    except OSError:
        return b""
