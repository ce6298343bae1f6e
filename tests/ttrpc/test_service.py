"""The method table that a descriptor gives."""

import pytest
from google.protobuf.empty_pb2 import Empty

from pelagos_core.api import task_pb2
from pelagos_core.errors import Unimplemented
from pelagos_core.ttrpc.service import Service, snake_case

TASK = task_pb2.DESCRIPTOR.services_by_name["Task"]


class Implementation:
    async def close_io(self, request):
        return Empty()


@pytest.mark.parametrize(
    ("name", "snake"), [("State", "state"), ("CloseIO", "close_io"), ("ResizePty", "resize_pty"), ("Wait", "wait")]
)
def test_method_names_become_pythons(name, snake):
    assert snake_case(name) == snake


def test_a_method_knows_its_messages_and_its_handler():
    method = Service("x.Task", TASK, Implementation()).method("CloseIO")
    assert (method.request, method.response) == (task_pb2.CloseIORequest, Empty)
    assert method.handler is not None


def test_a_method_without_an_implementation_has_no_handler():
    assert Service("x.Task", TASK, Implementation()).method("Exec").handler is None
    assert Service("x.Task", TASK).method("CloseIO").handler is None


def test_an_unknown_method_is_not_implemented():
    with pytest.raises(Unimplemented, match="method Fly"):
        Service("x.Task", TASK).method("Fly")
