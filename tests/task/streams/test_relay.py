"""Copying on the event loop: a target that is slow, gone or abandoned, and the end of the source."""

import asyncio
import os

import pytest

from pelagos_core.task.streams.relay import Relay
from tests.support.patience import until


@pytest.fixture
def pipes():
    """The source's two ends and the target's, all without waiting."""
    ends = [*os.pipe(), *os.pipe()]
    for fd in ends:
        os.set_blocking(fd, False)
    closed = set()

    def close(fd):
        closed.add(fd)
        os.close(fd)

    yield (*ends, close)
    for fd in set(ends) - closed:
        os.close(fd)


@pytest.fixture
def ended():
    return []


async def test_what_is_written_comes_through_up_to_the_end(pipes, ended):
    reader, writer, out, target, close = pipes
    relay = Relay(reader, target, lambda: ended.append(True))
    relay.start()
    os.write(writer, b"one")
    await until(lambda: relay.written == 3)
    assert os.read(out, 9) == b"one"
    assert not ended
    os.write(writer, b"two")
    close(writer)
    await until(lambda: ended)
    assert os.read(out, 9) == b"two"
    assert (relay.written, relay.is_held_up) == (6, False)


async def test_a_target_that_takes_nothing_holds_it_up(pipes, ended):
    reader, writer, out, target, close = pipes
    relay = Relay(reader, target, lambda: ended.append(True))
    while True:  # fill the target
        try:
            os.write(target, b"x" * 65536)
        except BlockingIOError:
            break
    relay.start()
    os.write(writer, b"y")
    await until(lambda: relay.is_held_up)
    close(writer)
    await asyncio.sleep(0)
    assert not ended
    os.read(out, 1 << 20)
    await until(lambda: ended)
    assert relay.written == 1


async def test_what_a_target_does_not_take_is_dropped_when_it_is_given_up(pipes, ended):
    reader, writer, _out, target, close = pipes
    relay = Relay(reader, target, lambda: ended.append(True))
    while True:
        try:
            os.write(target, b"x" * 65536)
        except BlockingIOError:
            break
    relay.start()
    os.write(writer, b"y")
    await until(lambda: relay.is_held_up)
    relay.discard()
    assert not relay.is_held_up
    os.write(writer, b"z")
    close(writer)
    await until(lambda: ended)


async def test_a_target_that_is_gone_is_read_on_for(pipes, ended):
    reader, writer, out, target, close = pipes
    relay = Relay(reader, target, lambda: ended.append(True))
    relay.start()
    close(out)
    os.write(writer, b"x")
    close(writer)
    await until(lambda: ended)
    assert relay.written == 0


async def test_a_pump_copies_what_is_there_without_the_loop(pipes, ended):
    reader, writer, out, target, _close = pipes
    relay = Relay(reader, target, lambda: ended.append(True))
    relay.pump()  # it has not begun
    os.write(writer, b"x")
    relay.start()
    relay.pump()
    assert os.read(out, 9) == b"x"
    relay.stop()
    relay.stop()
    os.write(writer, b"y")
    relay.pump()
    with pytest.raises(BlockingIOError):
        os.read(out, 9)


async def test_a_file_is_read_to_its_end(tmp_path, pipes, ended):
    _reader, _writer, out, target, _close = pipes
    (tmp_path / "file").write_bytes(b"text")
    source = os.open(tmp_path / "file", os.O_RDONLY)
    relay = Relay(source, target, lambda: ended.append(True))
    relay.start()
    await until(lambda: ended)
    assert os.read(out, 9) == b"text"
    os.close(source)
