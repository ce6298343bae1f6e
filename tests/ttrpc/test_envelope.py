"""What is in the frames of a call, to and from bytes."""

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import Code, InvalidArgument, NotFound, Unimplemented
from pelagos_core.ttrpc import envelope
from pelagos_core.ttrpc.service import Service

TASK = Service("x.Task", api.DESCRIPTOR.services_by_name["Task"])


def test_a_request_names_its_method_and_how_long_it_may_take():
    made = ttrpc_pb2.Request.FromString(envelope.request(TASK, "Wait", api.WaitRequest(id="a"), 1.5))
    assert (made.service, made.method, made.timeout_nano) == ("x.Task", "Wait", 1_500_000_000)
    assert api.WaitRequest.FromString(made.payload).id == "a"


def test_a_request_may_have_nothing_in_it():
    made = ttrpc_pb2.Request.FromString(envelope.request(TASK, "Shutdown"))
    assert (made.payload, made.timeout_nano) == (b"", 0)
    with pytest.raises(Unimplemented):
        envelope.request(TASK, "Fly")


def test_a_response_is_the_methods_message_or_the_servers_error():
    payload = api.WaitResponse(exit_status=7).SerializeToString()
    answer = envelope.response(TASK, "Wait", ttrpc_pb2.Response(payload=payload).SerializeToString())
    assert answer.exit_status == 7
    status = ttrpc_pb2.Status(code=Code.NOT_FOUND, message="it is gone [PLG-LOST]")
    with pytest.raises(NotFound, match="it is gone") as raised:
        envelope.response(TASK, "Wait", ttrpc_pb2.Response(status=status).SerializeToString())
    assert raised.value.reason == "PLG-LOST"


@pytest.mark.parametrize("data", [b"\xff\xff", ttrpc_pb2.Response(payload=b"\xff\xff").SerializeToString()])
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(InvalidArgument, match="not a WaitResponse"):
        envelope.response(TASK, "Wait", data)
