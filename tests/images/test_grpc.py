"""gRPC as its own library speaks it, and what is said by one that does not."""

import contextlib
import socket
import threading

import pytest

from pelagos_core.api import containers_pb2
from pelagos_core.errors import Internal, PermissionDenied, ResourceExhausted, Unavailable, Unimplemented
from pelagos_core.images.grpc import Channel, _complete
from tests.support.containerd_api import serving

NAMESPACE = {"containerd-namespace": "ns"}
GET = "containerd.services.containers.v1.Containers/Get"


def get(channel, name="c1"):
    answer = channel.call(GET, containers_pb2.GetContainerRequest(id=name), containers_pb2.GetContainerResponse)
    return answer.container.image


def test_calls_follow_each_other_on_a_connection(tmp_path):
    image = "i" * 300_000  # more than a frame, and than HTTP/2's first window
    with serving(tmp_path, containers={"c1": image}) as address, Channel(address, NAMESPACE, 10) as channel:
        for _ in range(50):
            assert get(channel) == image


def test_a_status_is_an_error_of_its_code_with_its_text(tmp_path):
    with serving(tmp_path, fails={"container": "PERMISSION_DENIED"}) as address:
        with (
            Channel(address, NAMESPACE, 10) as channel,
            pytest.raises(PermissionDenied, match="as the test wants it: 100 % über"),
        ):
            get(channel)
        with Channel(address, {}, 10) as channel, pytest.raises(Unimplemented):
            channel.call("no.such.Service/Method", containers_pb2.GetContainerRequest(), containers_pb2.Container)


def test_a_call_has_one_answer_and_no_more_are_taken(tmp_path):
    request, answer, taken = containers_pb2.GetContainerRequest(), containers_pb2.GetContainerResponse, []
    number = [0]

    def answers(*_):
        for _ in range(number[0]):
            taken.append(1)
            yield answer()

    with serving(tmp_path) as address, Channel(address, NAMESPACE, 10) as channel:
        channel.stream = answers
        for number[0], word in ((0, "no answer"), (100, "answers")):
            with pytest.raises(Internal, match=f"{GET}: {word} to a call that has one"):
                channel.call(GET, request, answer)
        assert len(taken) == 2


def test_a_silent_server_is_given_up(tmp_path):
    with (
        serving(tmp_path, silent=["container"]) as address,
        Channel(address, NAMESPACE, 0.2) as channel,
        pytest.raises(Unavailable, match=r"no answer in 0\.2 s"),
    ):
        get(channel)


@contextlib.contextmanager
def answering(tmp_path, data):
    """A server that sends this to any client, and closes the connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(tmp_path / "s")
        finally:
            thread.join()


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff", b"\xff" * 99]
)
def test_what_is_not_http_2_is_an_error(tmp_path, data):
    with answering(tmp_path, data) as address, Channel(address, {}, 10) as channel, pytest.raises(Unavailable):
        get(channel)


def test_an_absent_server_is_reported_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        Channel(str(tmp_path / "none"), {}, 10)


def test_a_message_is_bounded_and_not_compressed():
    with pytest.raises(ResourceExhausted, match="a message of 4294967295 bytes"):
        list(_complete("m", bytearray(b"\0\xff\xff\xff\xff")))
    with pytest.raises(Internal, match="is compressed"):
        list(_complete("m", bytearray(b"\1\0\0\0\1x")))
    buffer = bytearray(b"\0\0\0\0\1a\0\0\0\0\0\0\0\0")
    assert list(_complete("m", buffer)) == [b"a", b""]
    assert buffer == b"\0\0\0"
