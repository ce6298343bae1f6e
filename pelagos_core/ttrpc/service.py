"""The method table of a service, from its protobuf descriptor."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pelagos_core.errors import Unimplemented

Handler = Callable[[Any], Awaitable[Message]]


class Method(NamedTuple):
    """One method of a service.

    handler: the coroutine function that serves it, or None if it is not implemented.
    """

    name: str
    request: type[Message]
    response: type[Message]
    handler: Handler | None = None


class Service:
    """The method table of a service.

    name: the full name on the wire, such as `containerd.task.v2.Task`.
    implementation: an object with a coroutine method in snake case (`resize_pty`) for each
        method that it implements; None for a client.
    """

    def __init__(self, name: str, descriptor: ServiceDescriptor, implementation: object | None = None) -> None:
        self.name = name
        self._methods = {method.name: _method(method, implementation) for method in descriptor.methods}

    def method(self, name: str) -> Method:
        """Find a method by name. Raises Unimplemented."""
        try:
            return self._methods[name]
        except KeyError:
            raise Unimplemented(f"method {name}") from None


def snake_case(name: str) -> str:
    """`ResizePty` -> `resize_pty`, `CloseIO` -> `close_io`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _method(descriptor: MethodDescriptor, implementation: object | None) -> Method:
    return Method(
        name=descriptor.name,
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        handler=getattr(implementation, snake_case(descriptor.name), None),
    )
