"""A server whose program runs while there are requests: which program gets a client, and when one ends.

The programs are servers in this process: they answer each line that they are sent with their number and the line.
"""

import contextlib
import os
import signal
import socket
import struct
import threading
import time

import pytest

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux import child
from pelagos_core.plugin import relay, scale_to_zero
from pelagos_core.plugin.scale_to_zero import ScaleToZero

IDLE = 0.15


class Program:
    """One that listens after `delay` seconds, and ends at a signal once its connections have ended."""

    made = 0

    def __init__(self, delay=0.0, code=0, hangs=False, linger=0.0):
        Program.made += 1
        self._hangs, self._linger = hangs, linger
        self.number = Program.made
        self._delay, self._code = delay, code
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))

    def listening(self):
        time.sleep(self._delay)
        threading.Thread(target=self._accept, daemon=True).start()
        return self._listener.getsockname()[1]

    def end(self, signum):
        self._over.set()

    def wait(self):
        self._over.wait()
        time.sleep(self._linger)
        self._listener.close()
        return self._code

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue  # as HTTP servers do before a request
                if line.startswith(b"slow"):
                    time.sleep(IDLE * 3)
                if line.startswith(b"die"):
                    self._over.set()
                    return
                if line.startswith(b"pieces"):
                    for piece in (b"one ", b"two ", b"three\n"):
                        connection.sendall(piece)
                        time.sleep(0.3)
                    continue
                if line.startswith(b"half"):
                    connection.sendall(b"half an ")
                    time.sleep(60 if self._hangs else IDLE * 4)
                    return
                if line.startswith(b"close"):
                    connection.sendall(b"closed\n")
                    return
                connection.sendall(b"%d %s" % (self.number, line))


class Served:
    """The server, in a child: it takes SIGTERM, and has the container's main thread."""

    def __init__(self, start=Program, idle=IDLE):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

        def run(report):
            Program.made = 0
            return ScaleToZero(start, f"127.0.0.1:{self.port}", idle, 2).run(lambda: os.write(report, b"k"))

        self.child = child.fork_reporting(run)
        assert self.child.read(20) == b"k"

    def client(self):
        return Client(self.port)

    def leave(self):
        self.child.signal(signal.SIGTERM)

    def code(self):
        ended = self.child.wait(10)
        assert ended, "it goes on"
        return ended.si_status


class Client:
    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._lines = self._socket.makefile("rb")

    def send(self, line):
        self._socket.sendall(f"{line}\n".encode())

    def read(self):
        return self._lines.readline().decode().strip()

    def ask(self, line="x"):
        self.send(line)
        return self.read()

    def abort(self):
        """Reset the connection: it takes no answer, and the server learns of that at once."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self._lines.close()
        self._socket.close()


@pytest.fixture
def serve():
    made, clients = [], []

    class Made(Served):
        def client(self):
            clients.append(super().client())
            return clients[-1]

    def make(*args, **how):
        made.append(Made(*args, **how))
        return made[-1]

    yield make
    for client in clients:
        client.close()
    for served in made:
        served.child.close()


def test_each_rest_is_followed_by_another_program_and_the_client_stays(serve):
    served = serve()
    first, second = served.client(), served.client()
    assert [first.ask("a"), second.ask("b"), first.ask("c")] == ["1 a", "1 b", "1 c"]
    time.sleep(IDLE * 2.5)
    assert [second.ask("d"), first.ask("e")] == ["2 d", "2 e"]
    served.leave()
    assert served.code() == 0


def test_a_connection_alone_starts_nothing(serve):
    served = serve()
    served.client()
    time.sleep(IDLE)
    assert served.client().ask() == "1 x"


def test_bytes_of_many_wait_for_one_start(serve):
    served = serve(lambda: Program(0.3))
    clients = [served.client() for _ in range(30)]
    for number, client in enumerate(clients):
        client.send(f"{number} {'y' * 1000}")
    assert [client.read() for client in clients] == [f"1 {number} {'y' * 1000}" for number in range(30)]


def test_a_client_that_waits_for_an_answer_keeps_the_program(serve):
    served = serve()
    client = served.client()
    assert client.ask("slow") == "1 slow"
    assert client.ask("now") == "1 now"


def test_an_answer_that_pauses_for_longer_than_the_idle_time_is_not_cut(serve):
    served = serve()
    client, other = served.client(), served.client()
    client.send("pieces")
    assert client.read() == "one two three"
    assert client.read() == ""  # it may have been cut, for all that is known
    time.sleep(IDLE * 2.5)
    assert other.ask() == "2 x"


def test_others_are_served_while_an_answer_pauses(serve):
    served = serve()
    client, other = served.client(), served.client()
    client.send("pieces")
    time.sleep(IDLE * 1.5)
    assert other.ask() == "1 x"
    assert client.read() == "one two three"


def test_a_second_request_on_a_connection_keeps_the_program_as_well(serve):
    client = serve().client()
    client._socket.sendall(b"first\nslow\n")
    assert [client.read(), client.read()] == ["1 first", "1 slow"]


def test_a_client_whose_answer_breaks_off_sees_it(serve, monkeypatch):
    monkeypatch.setattr(relay, "_PROMPT_SECONDS", IDLE)
    client = serve().client()
    assert client.ask("half") == "half an"
    assert client.read() == ""


def test_an_answer_that_never_goes_on_does_not_keep_the_program_for_ever(serve, monkeypatch):
    monkeypatch.setattr(scale_to_zero, "_SILENT_SECONDS", IDLE)
    served = serve(lambda: Program(hangs=True))
    client, other = served.client(), served.client()
    assert client.ask("half") == "half an"
    time.sleep(IDLE * 3)
    assert other.ask("b") == "2 b"


def test_a_request_during_a_pause_is_not_mixed_with_the_answer(serve):
    served = serve()
    client = served.client()
    client.send("pieces")
    time.sleep(IDLE * 1.5)
    client.send("next")
    assert [client.read(), client.read()] == ["one two three", ""]


def test_a_client_without_an_answer_does_not_keep_it_for_ever(serve, monkeypatch):
    monkeypatch.setattr(scale_to_zero, "_SILENT_SECONDS", IDLE)
    served = serve()
    stalled, other = served.client(), served.client()
    assert other.ask("a") == "1 a"
    stalled._socket.sendall(b"half a line")
    assert stalled.read() == ""
    time.sleep(IDLE * 3)
    assert other.ask("b") == "2 b"


def test_what_the_program_closes_is_closed(serve):
    client = serve().client()
    assert client.ask("close") == "closed"
    assert client.read() == ""


def test_a_client_that_sends_no_more_has_its_answer(serve):
    client = serve(lambda: Program(0.2)).client()
    client.send("last")
    client._socket.shutdown(socket.SHUT_WR)
    assert client.read() == "1 last"
    assert client.read() == ""


@pytest.mark.parametrize("code", [0, 3, 137])
def test_with_a_program_that_ends_by_itself_the_container_ends(serve, code):
    served = serve(lambda: Program(code=code))
    served.client().send("die")
    assert served.code() == code


def test_a_program_that_cannot_start_ends_the_container(serve, capfd):
    def start():
        raise FailedPrecondition("no such program", reasons.SERVE)

    served = serve(start)
    client = served.client()
    assert client.ask() == ""
    assert served.code() == 1
    assert capfd.readouterr().err == "pelagos: no such program [PLG-SERVE]\n"


def test_sigterm_while_it_rests_ends_it(serve):
    served = serve()
    served.client()  # it has sent nothing, and may still
    began = time.monotonic()
    served.leave()
    assert served.code() == 0
    assert time.monotonic() - began < scale_to_zero._PAUSE_SECONDS + 1


def leaves_after_an_abort(served, client):
    """The client asks for a program and is gone; SIGTERM then ends all with 0."""
    client.send("x")
    time.sleep(0.1)
    client.abort()
    served.leave()
    assert served.code() == 0


def test_sigterm_ends_it_while_a_program_waits_for_the_end_of_the_one_before(serve, capfd):
    served = serve(lambda: Program(linger=1.5))
    client = served.client()
    assert client.ask() == "1 x"
    time.sleep(IDLE * 2)
    leaves_after_an_abort(served, client)
    assert capfd.readouterr().err == ""


def test_a_program_that_is_ended_before_it_listens_is_no_failure(serve, capfd):
    class Fails(Program):
        def listening(self):
            self._over.wait()
            raise FailedPrecondition("the server has exited with 130", reasons.SERVE)

    served = serve(Fails)
    client = served.client()
    leaves_after_an_abort(served, client)
    assert capfd.readouterr().err == ""


def test_sigterm_waits_for_answers_and_takes_no_further_client(serve):
    served = serve(idle=30)
    slow, quick = served.client(), served.client()
    assert quick.ask("a") == "1 a"
    slow.send("slow")
    time.sleep(0.05)
    served.leave()
    time.sleep(scale_to_zero._QUEUE_SECONDS + 0.05)
    with pytest.raises(OSError, match=r"refused|timed out"):
        Client(served.port)
    assert slow.read() == "1 slow"
    assert served.code() == 0


def test_sigterm_does_not_cut_an_answer_that_comes_in_pieces(serve):
    served = serve(idle=30)
    client = served.client()
    client.send("pieces")
    assert client._socket.recv(4, socket.MSG_PEEK)
    served.leave()
    assert client.read() == "one two three"
    assert served.code() == 0


def test_large_answers_to_a_slow_client_do_not_fill_memory(serve):
    served = serve(idle=30)
    client = served.client()
    line = "z" * 200_000
    sender = threading.Thread(target=lambda: [client.send(line) for _ in range(100)])
    sender.start()
    time.sleep(0.5)
    with open(f"/proc/{served.child.pid}/status") as file:
        peak = next(int(each.split()[1]) for each in file if each.startswith("VmRSS"))
    assert all(client.read() == f"1 {line}" for _ in range(100))
    sender.join()
    with open("/proc/self/status") as file:
        own = next(int(each.split()[1]) for each in file if each.startswith("VmRSS"))
    assert peak < own + 30_000  # KiB; 40 MB are on their way


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "0.0.0.0:{}"])
def test_a_port_that_is_taken_is_reported(address):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = address.format(taken.getsockname()[1])
        with pytest.raises(FailedPrecondition, match="Address already in use") as raised:
            ScaleToZero(Program, address, 1, 2).run(lambda: None)
        assert raised.value.reason == reasons.SERVE


def test_it_listens_on_ipv6(serve):
    listener = scale_to_zero._listening("[::1]:0")
    assert listener.family == socket.AF_INET6
    listener.close()
