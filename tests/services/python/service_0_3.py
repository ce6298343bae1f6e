"""A service in Python, of WASI 0.3."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        writer, reader = wit_world.byte_stream()
        response = Response.new(Fields(), reader, _none())[0]
        componentize_py_async_support.spawn(_write(writer))
        return response


def _none():
    return wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]


async def _write(writer):
    with writer:
        await writer.write_all(b"hello from WASI 0.3\n")
