"""What is in the frames of a call: the request's and the response's envelopes, for both kinds of client.

Source: ttrpc's request.proto; no I/O in here.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError, Message

from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import Code, InvalidArgument, from_status
from pelagos_core.ttrpc.service import Service


def request(service: Service, method: str, message: Message | None = None, timeout: float | None = None) -> bytes:
    """The data of a request's frame.

    message: None for one without fields that are set. timeout: seconds, which are told to the server.
    Raises Unimplemented for a method that the service does not have.
    """
    shape = service.method(method)
    envelope = ttrpc_pb2.Request(
        service=service.name,
        method=method,
        payload=(message or shape.request()).SerializeToString(),
        timeout_nano=int(timeout * 1e9) if timeout else 0,
    )
    return envelope.SerializeToString()


def response(service: Service, method: str, data: bytes) -> Any:  # noqa: ANN401 (the method decides the message)
    """The message in the data of a response's frame.

    Raises the PelagosError of the server's status; InvalidArgument if it is no answer to this method.
    """
    shape = service.method(method)
    answer = ttrpc_pb2.Response()
    message = shape.response()
    try:
        answer.ParseFromString(data)
        message.ParseFromString(answer.payload)
    except DecodeError:
        raise InvalidArgument(f"method {method}: the server's answer is not a {shape.response.__name__}") from None
    if answer.status.code != Code.OK:
        raise from_status(answer.status.code, answer.status.message)
    return message
