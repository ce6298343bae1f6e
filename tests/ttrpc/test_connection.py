"""Both ends of a connection without any I/O: which bytes mean what."""

import pytest

from pelagos_core.errors import Code
from pelagos_core.ttrpc.connection import (
    ClientConnection,
    RequestReceived,
    ResponseReceived,
    ServerConnection,
    StreamRefused,
)
from pelagos_core.ttrpc.frames import DATA, MAX_DATA, REQUEST, RESPONSE, Frame


def request(stream_id, data=b"x"):
    return Frame(stream_id, REQUEST, 0, data).serialize()


def oversized(stream_id, kind):
    return Frame(stream_id, kind, 0, b"").serialize().replace(bytes(4), (MAX_DATA + 1).to_bytes(4, "big"), 1)


def test_a_client_and_a_server_understand_each_other():
    client, server = ClientConnection(), ServerConnection()
    for number, text in enumerate((b"first", b"second")):
        stream_id, data = client.send_request(text)
        assert stream_id == 2 * number + 1
        assert server.receive_data(data) == [RequestReceived(stream_id, text)]
        assert client.receive_data(server.send_response(stream_id, text.upper())) == [
            ResponseReceived(stream_id, text.upper())
        ]


@pytest.mark.parametrize(("stream_id", "why"), [(2, "not odd"), (0, "not odd"), (5, "not above 5"), (3, "not above 5")])
def test_a_stream_id_that_may_not_be_is_refused_and_the_next_one_served(stream_id, why):
    server = ServerConnection()
    server.receive_data(request(5))
    (refused,) = server.receive_data(request(stream_id))
    assert isinstance(refused, StreamRefused)
    assert (refused.stream_id, refused.code) == (stream_id, Code.INVALID_ARGUMENT)
    assert why in refused.message
    assert server.receive_data(request(7)) == [RequestReceived(7, b"x")]


def test_an_oversized_request_is_refused_on_its_stream():
    (refused,) = ServerConnection().receive_data(oversized(1, REQUEST))
    assert (refused.stream_id, refused.code) == (1, Code.RESOURCE_EXHAUSTED)


def test_an_oversized_response_is_an_error_of_its_stream():
    (refused,) = ClientConnection().receive_data(oversized(1, RESPONSE))
    assert (refused.stream_id, refused.code) == (1, Code.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize("kind", [RESPONSE, DATA, 0, 77])
def test_frames_that_are_not_for_a_unary_server_are_passed_over(kind):
    assert ServerConnection().receive_data(Frame(1, kind, 0, b"x").serialize()) == []


def test_a_client_passes_over_what_is_no_response():
    assert ClientConnection().receive_data(request(1)) == []


def test_data_that_is_too_long_opens_no_stream():
    client = ClientConnection()
    with pytest.raises(ValueError, match="more than"):
        client.send_request(bytes(MAX_DATA + 1))
    assert client.send_request(b"")[0] == 1
