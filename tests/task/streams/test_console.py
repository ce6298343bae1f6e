"""A pseudo-terminal between two pipes: nothing waits, nothing is lost."""

import asyncio
import fcntl
import os
import struct
import termios
import tty

import pytest

from pelagos_core.task.streams import console
from pelagos_core.task.streams.console import Console
from pelagos_core.task.streams.relay import Relay


class Line:
    """A console whose client's ends and slave a test holds."""

    def __init__(self, *, with_input=True):
        self.source, self.keys = os.pipe()
        self.screen, self.target = os.pipe()
        os.set_blocking(self.screen, False)
        self.console = Console(self.source if with_input else -1, self.target, os.getuid())
        self.slave = os.dup(self.console.slave)
        tty.setraw(self.slave)
        self.console.handed_over()

    def close(self):
        self.console.close()
        for fd in {self.source, self.keys, self.screen, self.target, self.slave} - {-1}:
            os.close(fd)

    def end(self, name):
        os.close(getattr(self, name))
        setattr(self, name, -1)


@pytest.fixture
def line():
    return Line


async def shown(line, size):
    data = b""
    deadline = asyncio.get_running_loop().time() + 10
    while len(data) < size and asyncio.get_running_loop().time() < deadline:
        try:
            data += os.read(line.screen, 1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0.001)
    return data


async def test_both_directions_are_copied(line):
    line = line()
    os.write(line.keys, b"typed")
    assert await asyncio.to_thread(os.read, line.slave, 100) == b"typed"
    os.write(line.slave, b"written")
    assert await shown(line, 7) == b"written"
    line.close()


async def test_all_that_was_written_comes_out_though_the_reader_is_slow(line):
    line = line()
    text = os.urandom(300_000)

    def write():
        data = text
        while data:
            data = data[os.write(line.slave, data) :]
        line.end("slave")

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    await asyncio.sleep(0.1)
    assert not writing.done()  # the pipe is full, and the loop goes on
    assert await shown(line, len(text)) == text
    await writing
    await asyncio.wait_for(line.console.drained(), 5)
    line.close()


async def test_a_pump_ends_also_where_the_session_writes_on_and_on():
    with open("/dev/zero", "rb") as endless, open("/dev/null", "wb") as sink:
        relay = Relay(endless.fileno(), sink.fileno(), lambda: None)
        relay.start()
        relay.pump()
        assert relay.written >= 64 << 10
        relay.stop()


async def test_a_pump_copies_what_is_there_at_once(line):
    line = line(with_input=False)
    os.write(line.slave, b"last words")
    await asyncio.sleep(0.01)  # the terminal's own buffer is filled by a worker of the kernel
    line.console.pump()
    assert os.read(line.screen, 100) == b"last words"
    line.close()


async def test_without_the_client_the_session_is_hung_up(line):
    line = line()
    line.end("keys")
    await asyncio.sleep(0.05)
    os.write(line.slave, b"not before it runs")
    line.console.started()
    await asyncio.wait_for(line.console.drained(), 5)
    assert await shown(line, 18) == b"not before it runs"
    with pytest.raises(OSError, match="Input/output error"):
        os.write(line.slave, b"x")
    line.console.resize(1, 1)
    line.close()


async def test_what_is_written_after_the_end_of_the_input_comes_out_before_the_session_is_hung_up(line, monkeypatch):
    monkeypatch.setattr(console, "_SILENT_SECONDS", 0.05)
    line = line()
    line.end("keys")
    line.console.started()
    text = os.urandom(700_000)

    def write():
        data = text
        while data:
            data = data[os.write(line.slave, data[:50_000]) :]

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    read = b""
    while len(read) < len(text):
        await asyncio.sleep(0.1)  # slower than the silence that is waited for
        read += await shown(line, 1)
    assert read == text
    await writing
    await asyncio.wait_for(line.console.drained(), 5)
    line.close()


async def test_without_an_input_the_session_is_not_hung_up(line):
    line = line(with_input=False)
    await asyncio.sleep(0.05)
    os.write(line.slave, b"still there")
    assert await shown(line, 11) == b"still there"
    line.close()


async def test_files_are_streams_like_any_other(tmp_path):
    (tmp_path / "in").write_bytes(b"from a file")
    source = os.open(tmp_path / "in", os.O_RDONLY)
    target = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    between = Console(source, target, os.getuid())
    slave = os.dup(between.slave)
    os.write(slave, b"to a file")
    await asyncio.sleep(0.01)
    between.handed_over()
    between.started()
    between.pump()
    assert (tmp_path / "out").read_bytes() == b"to a file"
    await asyncio.wait_for(between.drained(), 5)  # the end of a file is one too: it hangs up
    between.close()
    for fd in (slave, source, target):
        os.close(fd)


async def test_the_size_is_set_and_an_absurd_one_is_cut(line):
    line = line()
    for asked, got in (((80, 24), (80, 24)), ((1 << 32, 7), (0xFFFF, 7))):
        line.console.resize(*asked)
        height, width = struct.unpack("HHHH", fcntl.ioctl(line.slave, termios.TIOCGWINSZ, bytes(8)))[:2]
        assert (width, height) == got
    line.close()
