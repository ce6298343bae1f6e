"""The selector does as the standard library's: each test is run with both."""

import contextlib
import os
import selectors
import socket
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from pelagos_core.linux.epoll import EpollSelector


@pytest.fixture(params=[EpollSelector, selectors.EpollSelector])
def selector(request):
    with request.param() as made:
        yield made


@pytest.fixture
def pair():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in socket.socketpair()]


def ready(selector):
    return {key.data: events for key, events in selector.select(0)}


def test_what_is_ready_is_reported_with_what_it_was_registered_with(selector, pair):
    ours, theirs = pair
    assert selector.register(ours, EVENT_READ | EVENT_WRITE, "ours").fd == ours.fileno()
    selector.register(theirs.fileno(), EVENT_READ, "theirs")
    assert ready(selector) == {"ours": EVENT_WRITE}
    ours.send(b"x")
    theirs.send(b"x")
    assert ready(selector) == {"ours": EVENT_READ | EVENT_WRITE, "theirs": EVENT_READ}
    selector.modify(ours, EVENT_READ, "changed")
    selector.modify(theirs, EVENT_WRITE, "writer")
    assert ready(selector) == {"changed": EVENT_READ, "writer": EVENT_WRITE}
    assert selector.unregister(ours).data == "changed"
    assert ready(selector) == {"writer": EVENT_WRITE}


def test_the_end_of_the_other_side_wakes_up_a_reader_and_a_writer(selector):
    reader, writer = os.pipe()
    selector.register(reader, EVENT_READ, "reader")
    os.close(writer)
    assert ready(selector) == {"reader": EVENT_READ}
    os.close(reader)
    reader, writer = os.pipe()
    selector.register(writer, EVENT_WRITE, "writer")
    os.close(reader)
    assert ready(selector) == {"writer": EVENT_WRITE}
    os.close(writer)


def test_a_key_is_found_by_a_descriptor_or_what_has_one(selector, pair):
    ours, theirs = pair
    key = selector.register(ours, EVENT_READ, "x")
    assert selector.get_key(ours) == selector.get_key(ours.fileno()) == key
    assert selector.get_map().get(ours) == selector.get_map()[ours.fileno()] == key
    assert selector.get_map().get(theirs) is None
    assert len(selector.get_map()) == 1
    for call in (selector.get_key, selector.unregister, lambda each: selector.modify(each, EVENT_READ)):
        with pytest.raises(KeyError):
            call(theirs)
    with pytest.raises(KeyError):
        selector.register(ours.fileno(), EVENT_WRITE)


def test_a_descriptor_that_was_closed_can_be_given_up(selector, pair):
    fd = os.dup(pair[0].fileno())
    selector.register(fd, EVENT_READ, "x")
    os.close(fd)
    assert selector.unregister(fd).data == "x"


def test_what_cannot_be_watched_is_an_error_and_is_not_registered(selector, tmp_path):
    with pytest.raises(ValueError, match="-1"):
        selector.register(-1, EVENT_READ)
    with open(tmp_path / "file", "w") as file, pytest.raises(PermissionError):
        selector.register(file.fileno(), EVENT_READ)
    assert len(selector.get_map()) == 0


def test_it_waits_no_longer_than_its_timeout(selector):
    assert selector.select(0) == selector.select(-1) == selector.select(0.001) == []


def test_it_has_a_descriptor_and_closes_it():
    selector = EpollSelector()
    os.fstat(selector.fileno())
    selector.close()
    with pytest.raises(ValueError, match="closed"):
        selector.fileno()
