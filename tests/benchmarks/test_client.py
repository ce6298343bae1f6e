import socket
import threading

import pytest

from benchmarks.client import CallFailed, Client, EventsService, Wire
from pelagos_core.api import events_pb2, ttrpc_pb2
from pelagos_core.ttrpc.connection import ClientConnection, ServerConnection


class Shim:
    """A server on a thread that answers so many requests together, the latest first."""

    def __init__(self, path, answers_at_once):
        self.most_open = 0
        self._at_once = answers_at_once
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        connection, waiting = ServerConnection(), []
        with self._listener, self._listener.accept()[0] as peer:
            while data := peer.recv(65536):
                waiting += connection.receive_data(data)
                self.most_open = max(self.most_open, len(waiting))
                if len(waiting) == self._at_once:
                    for event in reversed(waiting):
                        peer.sendall(connection.send_response(event.stream_id, answer(event.data)))
                    waiting.clear()


def answer(data):
    request = ttrpc_pb2.Request.FromString(data)
    if request.method == "Fail":
        return ttrpc_pb2.Response(status={"code": 5, "message": "no such task"}).SerializeToString()
    return ttrpc_pb2.Response(payload=request.payload.upper()).SerializeToString()


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def shim(tmp_path, wire):
    """Makes a connected client, and a shim that leaves so many requests open."""
    made = []

    def make(answers_at_once=1):
        path = str(tmp_path / f"{len(made)}.sock")
        server = Shim(path, answers_at_once)
        made.append((server, Client(path, wire)))
        return made[-1]

    yield make
    for server, client in made:
        client.close()
        server.thread.join(5)


def test_a_call_has_its_answer(shim):
    _, client = shim()
    assert client.call("State", b"abc") == b"ABC"


def test_an_error_names_what_the_shim_said(shim):
    _, client = shim()
    with pytest.raises(CallFailed, match="no such task"):
        client.call("Fail", b"")


def test_scripts_run_so_many_at_a_time_and_get_their_own_answers(shim):
    server, client = shim(answers_at_once=2)
    heard = {}

    def script(name):
        heard[name] = [(yield "Create", name), (yield "Start", name * 2)]

    client.run((script(name) for name in (b"a", b"b", b"c", b"d")), at_a_time=2)
    assert heard == {name: [name.upper(), name.upper() * 2] for name in (b"a", b"b", b"c", b"d")}
    assert server.most_open == 2


def test_events_are_counted_and_acknowledged(tmp_path, wire):
    service = EventsService(tmp_path / "events.sock", wire)
    ours, request = ClientConnection(), ttrpc_pb2.Request(method="Forward")
    request.payload = events_pb2.ForwardRequest().SerializeToString()
    with socket.socket(socket.AF_UNIX) as shim:
        shim.connect(service.address)
        for _ in range(3):
            shim.sendall(ours.send_request(request.SerializeToString())[1])
        service.until(3)
        answers = []
        while len(answers) < 3:
            answers += ours.receive_data(shim.recv(65536))
    assert [event.stream_id for event in answers] == [1, 3, 5]
    with pytest.raises(CallFailed, match="3 of 4 events have arrived"):
        service.until(4, seconds=0.05)
