"""Streams by their paths: what the child gets, what the daemon holds, and for how long."""

import asyncio
import os

import pytest

from pelagos_core.errors import AlreadyExists, InvalidArgument, NotFound
from pelagos_core.task.streams.stdio import Stdio, StdioPaths
from tests.support.bundles import Fifos


def write_all(stdio, text):
    """What a child does: write to both outputs, and end."""
    os.write(stdio.child[1], text)
    os.write(stdio.child[2], text.upper())
    stdio.forked()


def finished(tmp_path, text=b""):
    """The path and the streams of a process that has written something without a reader, and has ended."""
    path = str(tmp_path / "out")
    os.mkfifo(path)
    stdio = Stdio(StdioPaths("", path, ""))
    os.write(stdio.child[1], text)
    stdio.forked()
    stdio.finish()
    return path, stdio


async def test_a_reader_gets_everything_and_then_the_end(tmp_path):
    fifos = Fifos(tmp_path)
    stdio = Stdio(StdioPaths("", fifos.stdout, fifos.stderr))
    write_all(stdio, b"out")
    stdio.finish()
    assert fifos.output() == ("out", "OUT")
    assert fifos.at_end()
    fifos.close()


async def test_bytes_wait_for_a_reader_that_comes_late(tmp_path):
    path, stdio = finished(tmp_path, b"late")
    await asyncio.sleep(0.02)
    reader = os.open(path, os.O_RDONLY)
    assert os.read(reader, 100) == b"late"
    assert await asyncio.wait_for(asyncio.to_thread(os.read, reader, 1), 5) == b""
    os.close(reader)
    stdio.close()


async def test_an_exit_is_reported_once_a_client_has_read_the_bytes_or_its_time_is_over(tmp_path):
    path, stdio = finished(tmp_path, b"late")
    await stdio.wait_for_reader(0.02)
    telling = asyncio.ensure_future(stdio.wait_for_reader(600))
    await asyncio.sleep(0.02)
    assert not telling.done()
    reader = os.open(path, os.O_RDONLY)
    await asyncio.wait_for(telling, 20)
    assert os.read(reader, 100) == b"late"
    os.close(reader)
    stdio.close()


async def test_an_empty_output_needs_no_reader(tmp_path):
    _, stdio = finished(tmp_path)
    await asyncio.wait_for(stdio.wait_for_reader(600), 20)
    stdio.close()


async def test_a_file_uri_of_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "out")
    stdio = Stdio(StdioPaths("", f"file://{tmp_path}/out", ""))
    os.write(stdio.child[1], b"out")
    reader = os.open(tmp_path / "out", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 100) == b"out"
    os.close(reader)
    stdio.close()


async def test_close_discards_output_without_a_reader(tmp_path):
    path, stdio = finished(tmp_path)
    stdio.close()  # before the lingering task has run at all
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="No such device"):
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)


async def test_input_ends_only_when_the_daemon_lets_go_too(tmp_path):
    path = str(tmp_path / "in")
    os.mkfifo(path)
    stdio = Stdio(StdioPaths(path, "", ""))
    child = os.dup(stdio.child[0])
    assert os.get_blocking(child)
    stdio.forked()
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"typed")
    os.close(writer)
    assert os.read(child, 100) == b"typed"
    os.set_blocking(child, False)
    with pytest.raises(BlockingIOError):
        os.read(child, 1)
    stdio.close_stdin()
    stdio.close_stdin()
    assert os.read(child, 1) == b""
    os.close(child)
    stdio.close()


async def test_files_are_appended_to_and_made_only_by_a_uri(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"before ")
    uri = f"file://{tmp_path}/a%20b/log"
    stdio = Stdio(StdioPaths("", uri, str(plain)))
    write_all(stdio, b"x")
    stdio.close()
    # with a file URI both streams go to stdout's path
    assert (tmp_path / "a b/log").read_bytes() == b"xX"
    assert plain.read_bytes() == b"before "
    stdio = Stdio(StdioPaths("", "", str(plain)))
    write_all(stdio, b"x")
    stdio.close()
    assert plain.read_bytes() == b"before X"


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        (StdioPaths("/proc/none/in", "", ""), NotFound, "stdin '/proc/none/in' does not exist"),
        (StdioPaths("", "/proc/none/out", ""), NotFound, "stdout '/proc/none/out' does not exist"),
        (StdioPaths("", "", "/proc/none/err"), NotFound, "stderr '/proc/none/err' does not exist"),
        (StdioPaths("in", "", ""), InvalidArgument, "stdin 'in': neither an absolute path"),
        (StdioPaths("", "out", ""), InvalidArgument, "stdout 'out': neither"),
        (StdioPaths("", "file:out", ""), InvalidArgument, "stdout 'file:out': neither"),
        (StdioPaths("", "file://[", ""), InvalidArgument, r"stdout 'file://\[': Invalid IPv6 URL"),
        (StdioPaths("", "file:///a%00", ""), InvalidArgument, "stdout 'file:///a%00': holds a NUL byte"),
        (StdioPaths("/a\0", "", ""), InvalidArgument, "holds a NUL byte"),
        (StdioPaths("/dev", "", ""), InvalidArgument, "stdin '/dev'"),
        (StdioPaths("", "file:///dev/null/x", ""), AlreadyExists, "stdout '/dev/null/x'"),
    ],
)
def test_what_cannot_be_opened_is_refused_by_name_and_nothing_stays_open(paths, error, message):
    with pytest.raises(error, match=message):
        Stdio(paths)
