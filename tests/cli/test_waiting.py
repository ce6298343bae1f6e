"""Waiting in one thread: for descriptors, moments and other threads."""

import os
import threading
import time

import pytest

from pelagos_core.cli.waiting import Waiting


@pytest.fixture
def waiting():
    with Waiting() as made:
        yield made


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_callback_runs_while_it_is_waited_in_and_not_before(waiting, pipe):
    reader, writer = pipe
    read = []
    waiting.on_readable(reader, lambda: read.append(os.read(reader, 1)))
    os.write(writer, b"ab")
    assert read == []
    assert waiting.until(lambda: len(read) == 2)
    assert read == [b"a", b"b"]


def test_what_is_forgotten_is_not_looked_at(waiting, pipe):
    reader, writer = pipe
    waiting.on_readable(reader, lambda: pytest.fail("it was forgotten"))
    os.write(writer, b"a")
    waiting.forget(reader)
    waiting.forget(reader)
    waiting.look()


def test_a_wait_ends_after_its_time_and_not_before(waiting):
    began = time.monotonic()
    assert not waiting.until(lambda: False, 0.05)
    assert 0.05 <= time.monotonic() - began < 1
    assert waiting.until(lambda: True, 0)


def test_moments_come_in_their_order_and_once(waiting):
    came = []
    waiting.after(0.04, lambda: came.append("second"))
    waiting.after(0.02, lambda: came.append("first"))
    waiting.until(lambda: len(came) > 2, 0.1)
    assert came == ["first", "second"]


def test_a_look_does_not_wait(waiting):
    came = []
    waiting.after(30, lambda: came.append("late"))
    waiting.post(lambda: came.append("posted"))
    began = time.monotonic()
    for _ in range(1000):
        waiting.look()
    assert came == ["posted"]
    assert time.monotonic() - began < 0.9  # no millisecond of each


def test_another_thread_wakes_it(waiting):
    came = []
    thread = threading.Thread(target=lambda: (time.sleep(0.05), waiting.post(lambda: came.append(1))))
    thread.start()
    assert waiting.until(lambda: came, 30)
    thread.join()


def test_what_a_callback_raises_leaves_the_others_for_the_next_time(waiting):
    came = []

    def fail():
        raise KeyError("of a callback")

    waiting.post(fail)
    waiting.post(lambda: came.append(1))
    with pytest.raises(KeyError):
        waiting.look()
    assert waiting.until(lambda: came, 30)


def test_a_thread_may_be_late():
    with Waiting() as waiting:
        pass
    waiting.post(lambda: None)
