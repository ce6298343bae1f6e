"""Events as containerd decodes them."""

import pytest

from pelagos_core.api import task_events_pb2 as api
from pelagos_core.exit_status import ExitStatus
from pelagos_core.task import events
from pelagos_core.task.streams.stdio import StdioPaths

EXIT = ExitStatus(7, 1_700_000_000_123_456_789)


def test_a_type_url_is_the_bare_name():
    packed = events.pack(events.task_start("c1", 5))
    assert packed.type_url == "containerd.events.TaskStart"
    assert api.TaskStart.FromString(packed.value) == api.TaskStart(container_id="c1", pid=5)


def test_times_keep_their_nanoseconds():
    stamp = events.timestamp(EXIT.exited_at)
    assert (stamp.seconds, stamp.nanos) == (1_700_000_000, 123_456_789)


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (events.task_create("c1", "/b", [], StdioPaths("i", "o", "e"), 5), "/tasks/create"),
        (events.task_start("c1", 5), "/tasks/start"),
        (events.exec_started("c1", "e1", 5), "/tasks/exec-started"),
        (events.task_exit("c1", "", 5, EXIT), "/tasks/exit"),
        (events.task_delete("c1", 5, EXIT), "/tasks/delete"),
    ],
)
def test_each_message_has_its_topic_and_names_the_container(message, topic):
    assert events.TOPICS[type(message)] == topic
    assert (message.container_id, message.pid) == ("c1", 5)


@pytest.mark.parametrize(("exec_id", "named"), [("", "c1"), ("e1", "e1")])
def test_an_exit_has_the_process_and_the_time(exec_id, named):
    message = events.task_exit("c1", exec_id, 5, EXIT)
    assert (message.id, message.exit_status, message.exited_at) == (named, 7, events.timestamp(EXIT.exited_at))


def test_an_exec_is_reported_before_it_has_a_process():
    message = events.exec_added("c1", "e1")
    assert events.TOPICS[type(message)] == "/tasks/exec-added"
    assert (message.container_id, message.exec_id) == ("c1", "e1")


def test_a_create_has_the_streams():
    message = events.task_create("c1", "/b", [], StdioPaths("i", "o", "e", terminal=True), 5)
    assert (message.io.stdin, message.io.stdout, message.io.stderr, message.io.terminal) == ("i", "o", "e", True)
