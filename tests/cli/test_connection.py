"""A command's connection to a daemon: answers in any order, errors, and a daemon that goes away or is stopped."""

import contextlib
import socket
import threading

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.cli import connection
from pelagos_core.cli.connection import TASK, Connection
from pelagos_core.cli.waiting import Waiting
from pelagos_core.errors import Code, FailedPrecondition, ResourceExhausted, Unavailable
from pelagos_core.ttrpc.connection import ServerConnection
from pelagos_core.ttrpc.frames import HEADER, MAX_DATA, RESPONSE


@contextlib.contextmanager
def daemon(tmp_path, serve):
    """A connection to a socket whose other end is given to `serve`, in a thread."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)

        def accept():
            peer, _ = listener.accept()
            with peer:
                serve(peer)

        thread = threading.Thread(target=accept)
        thread.start()
        with Waiting() as waiting, Connection(path, waiting) as made:
            yield made
        thread.join(10)


def received(peer, count):
    """The next requests: stream ids and messages."""
    state, events = ServerConnection(), []
    while len(events) < count:
        events += state.receive_data(peer.recv(1 << 16))
    return [(event.stream_id, ttrpc_pb2.Request.FromString(event.data)) for event in events]


def answered(peer, stream_id, **fields):
    peer.sendall(ServerConnection().send_response(stream_id, ttrpc_pb2.Response(**fields).SerializeToString()))


def status(code):
    return api.WaitResponse(exit_status=code).SerializeToString()


def wait(name):
    return TASK, "Wait", api.WaitRequest(id=name)


def test_calls_are_answered_in_any_order(tmp_path):
    def serve(peer):
        for stream_id, request in reversed(received(peer, 2)):
            answered(peer, stream_id, payload=status(len(api.WaitRequest.FromString(request.payload).id)))

    with daemon(tmp_path, serve) as made:
        long, short = made.send(*wait("four")), made.send(*wait("a"))
        assert made.wait_for(long).exit_status == 4
        assert made.wait_for(short).exit_status == 1


def test_errors_of_the_daemon_are_raised_and_the_connection_goes_on(tmp_path):
    def serve(peer):
        ((stream_id, _),) = received(peer, 1)
        answered(peer, stream_id, status=ttrpc_pb2.Status(code=Code.FAILED_PRECONDITION, message="no"))
        data = peer.recv(1 << 16)
        next_id = HEADER.unpack_from(data)[1]
        peer.sendall(HEADER.pack(MAX_DATA + 1, next_id, RESPONSE, 0))

    with daemon(tmp_path, serve) as made:
        with pytest.raises(FailedPrecondition, match="no"):
            made.call(*wait("a"))
        with pytest.raises(ResourceExhausted):
            made.call(*wait("a"))


def test_a_daemon_that_goes_away_answers_all_that_is_under_way_and_what_is_sent_later(tmp_path):
    with daemon(tmp_path, lambda peer: received(peer, 1)) as made:
        with pytest.raises(Unavailable, match="the container's shim has ended"):
            made.call(*wait("a"))
        assert made.is_closed
        assert made.send(*wait("a")).has_come
        made.wait_closed(10)


def test_one_that_does_not_listen_is_named(tmp_path):
    with Waiting() as waiting, pytest.raises(Unavailable, match=f"socket '{tmp_path}/none': No such file"):
        Connection(f"{tmp_path}/none", waiting)


def test_one_that_is_stopped_is_not_waited_for_with_what_it_does_not_take_in(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_SECONDS", 0.05)
    closed = threading.Event()
    with daemon(tmp_path, lambda peer: closed.wait(30)) as made:
        answer = made.send(TASK, "Wait", api.WaitRequest(id="x" * (3 << 20)))
        closed.set()
        with pytest.raises(Unavailable):
            made.wait_for(answer)
