"""Published ports: how they are written, and what is forwarded."""

import os
import signal
import socket
import time

import click
import pytest

from pelagos_core.cli.ports import Port, Publisher, parse
from pelagos_core.errors import FailedPrecondition, Internal
from tests.support.network import new_network


@pytest.mark.parametrize(
    ("word", "port"),
    [
        ("8080:80", Port("", 8080, 80, "tcp")),
        ("8080:80/tcp", Port("", 8080, 80, "tcp")),
        ("53:53/udp", Port("", 53, 53, "udp")),
        ("127.0.0.1:1:65535", Port("127.0.0.1", 1, 65535, "tcp")),
        ("[::1]:8080:80/udp", Port("::1", 8080, 80, "udp")),
    ],
)
def test_a_port_is_written_as_for_docker(word, port):
    assert parse(word) == port


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("80", "is not"),
        ("", "is not"),
        ("8080:80/sctp", "is not"),
        ("8000-8010:80", "is not"),
        ("::1:8080:80", "is not"),
        ("host:8080:80", "not an IP address"),
        ("256.1.1.1:8080:80", "not an IP address"),
        ("[127.0.0.1.1]:8080:80", "not an IP address"),
        ("0:80", "from 1 to 65535"),
        ("80:65536", "from 1 to 65535"),
        ("٨٠:80", "is not"),
    ],
)
def test_what_is_no_port_is_refused(word, why):
    with pytest.raises(click.BadParameter, match=why):
        parse(word)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def soon(condition, seconds=5):
    for _ in range(100 * seconds):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_port_that_is_taken_is_an_error_at_once_and_nothing_is_left_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, free = server.getsockname()[1], free_port()
        with pytest.raises(FailedPrecondition, match=rf"port 127.0.0.1:{taken}/tcp: Address already in use"):
            Publisher((Port("127.0.0.1", free, 80, "tcp"), Port("127.0.0.1", taken, 80, "tcp")))
        assert not is_open(free)


@pytest.mark.root
def test_a_port_leads_into_the_network_of_a_process_alone():
    port = free_port()
    with new_network() as network, network.echoing(port=80), Publisher((Port("127.0.0.1", port, 80, "tcp"),)) as made:
        made.start(network.pid)
        for size in (1, 1 << 20):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                sent, received = os.urandom(size), b""
                client.sendall(sent[: 1 << 15])
                while len(received) < min(size, 1 << 15):
                    received += client.recv(1 << 16)
                assert received == sent[: 1 << 15]
    assert not is_open(port)


@pytest.mark.root
def test_where_nothing_listens_a_connection_ends():
    port = free_port()
    with new_network() as network, Publisher((Port("127.0.0.1", port, 80, "tcp"),)) as made:
        made.start(network.pid)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            assert client.recv(1) == b""


@pytest.mark.root
def test_it_ends_with_the_process_that_it_forwards_to_also_without_its_command():
    port = free_port()
    with new_network() as network:
        made = Publisher((Port("127.0.0.1", port, 80, "tcp"),))
        made.start(network.pid)
        forwarder = made._pid
        assert is_open(port)
        os.kill(network.pid, signal.SIGKILL)
        assert os.waitpid(forwarder, 0) == (forwarder, 0)
        made.leave()
        made.__exit__(None, None, None)
    assert not is_open(port)


@pytest.mark.root
def test_a_process_that_is_gone_is_an_error():
    with new_network() as network:
        pid = network.pid
    with Publisher((Port("127.0.0.1", free_port(), 80, "tcp"),)) as made, pytest.raises(Internal, match="published"):
        made.start(pid)
