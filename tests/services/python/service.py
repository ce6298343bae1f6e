"""A service in Python."""

from componentize_py_types import Ok
from wit_world.exports import IncomingHandler as Handler
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(Handler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        body.write().blocking_write_and_flush(b"hello from Python\n")
        OutgoingBody.finish(body, None)
