"""The envelopes of a call, Request and Response, as the data of frames; for both kinds of client.

Source: ttrpc's request.proto. No I/O.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError, Message

from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import Code, InvalidArgument, from_status
from pelagos_core.ttrpc.service import Service


def request(service: Service, method: str, message: Message | None = None, timeout: float | None = None) -> bytes:
    """The data of a request's frame.

    message: None for an empty one. timeout: seconds, sent to the server.
    Raises Unimplemented if the service has no such method.
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
    """The response message in the data of a frame.

    Raises the PelagosError of the server's status; InvalidArgument if the data is not a response of this method.
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
