"""One stream: what a path or URI leads to, and what the daemon holds of a FIFO."""

import asyncio
import os
import stat

import pytest

from pelagos_core.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from pelagos_core.task.streams.stream import FifoOutput, Input, open_output


@pytest.fixture
def fifo(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def test_no_path_is_dev_null():
    source, output = Input(""), open_output("stdout", "")
    assert os.fstat(source.fd).st_rdev == os.fstat(output.fd).st_rdev == os.stat(os.devnull).st_rdev
    assert output.finish()
    source.close()
    assert (source.fd, output.fd) == (-1, -1)


@pytest.mark.parametrize(
    ("uri", "kind", "match"),
    [
        ("relative", InvalidArgument, "stdout 'relative': neither an absolute path nor a file URI"),
        ("file:relative", InvalidArgument, "neither an absolute path"),
        ("npipe:///x", Unimplemented, "npipe:// is not supported"),
        ("file://[x", InvalidArgument, "stdout"),
        ("/a\0b", InvalidArgument, "holds a NUL byte"),
        ("file:///a%00b", InvalidArgument, "holds a NUL byte"),
        ("/proc/none/such", NotFound, "stdout '/proc/none/such' does not exist"),
        ("/", InvalidArgument, "neither a FIFO nor a file|Is a directory"),
        ("file:///proc/version/x", AlreadyExists, "/proc/version"),
    ],
)
def test_what_cannot_be_written_to_is_named(uri, kind, match):
    with pytest.raises(kind, match=match):
        open_output("stdout", uri)


def test_a_path_is_not_made_and_a_uri_is(tmp_path):
    with pytest.raises(NotFound):
        open_output("stdout", str(tmp_path / "a/log"))
    for text in (b"one", b"two"):
        output = open_output("stdout", f"file://{tmp_path}/a%20b/log")
        os.write(output.fd, text)
        output.close()
    assert (tmp_path / "a b/log").read_bytes() == b"onetwo"


@pytest.mark.parametrize("kind", [NotFound, InvalidArgument])
def test_an_input_that_cannot_be_read_is_named(tmp_path, kind):
    path = tmp_path / "x"
    if kind is InvalidArgument:
        path.mkdir()
    with pytest.raises(kind, match=f"stdin '{path}'"):
        Input(str(path))


def test_a_file_that_may_not_be_opened_is_refused(monkeypatch, tmp_path):
    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionDenied, match="stdin '/x': Permission denied"):
        Input("/x")


def test_an_input_is_at_its_end_once_the_daemon_has_let_go(fifo):
    source = Input(fifo)
    os.set_blocking(source.fd, False)
    with pytest.raises(BlockingIOError):
        os.read(source.fd, 1)  # the daemon is a writer
    source.release()
    assert os.read(source.fd, 1) == b""
    source.close()


def test_the_childs_end_waits_and_the_daemons_does_not(fifo):
    output = open_output("stdout", fifo)
    assert isinstance(output, FifoOutput)
    assert os.get_blocking(output.fd)
    assert stat.S_ISFIFO(os.fstat(output.fd).st_mode)
    output.close()


def test_a_writer_does_not_see_that_there_is_no_reader(fifo):
    output = open_output("stdout", fifo)
    assert os.write(output.fd, b"x") == 1
    output.close()


def test_a_full_fifo_takes_what_it_can_of_a_line_of_ours(fifo):
    output = open_output("stdout", fifo)
    for _ in range(3):
        output.write(b"x" * 65536)
    output.close()
    output.write(b"x")


def test_a_fifo_with_a_reader_is_let_go_at_once(fifo):
    output = open_output("stdout", fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.write(output.fd, b"x")
    assert output.finish()
    assert os.read(reader, 9) == b"x"
    assert os.read(reader, 9) == b""
    os.close(reader)


async def test_bytes_are_held_until_a_reader_comes(fifo):
    output = open_output("stdout", fifo)
    assert not output.holds_bytes
    os.write(output.fd, b"x")
    assert not output.finish()
    assert output.holds_bytes
    lingering = asyncio.ensure_future(output.close_once_read())
    await asyncio.sleep(0.01)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    await asyncio.wait_for(lingering, 5)
    assert os.read(reader, 9) == b"x"
    assert os.read(reader, 9) == b""
    os.close(reader)


async def test_a_cancelled_wait_for_a_reader_closes_the_fifo(fifo):
    output = open_output("stdout", fifo)
    os.write(output.fd, b"x")
    output.finish()
    lingering = asyncio.ensure_future(output.close_once_read())
    await asyncio.sleep(0)
    lingering.cancel()
    await asyncio.wait({lingering})
    assert not output.holds_bytes
