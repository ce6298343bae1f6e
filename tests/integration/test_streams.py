"""Standard streams through a real shim: every byte, in every shape containerd has for them."""

import asyncio
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.errors import InvalidArgument, NotFound
from tests.support.absent import ABSENT
from tests.support.bundles import Fifos, make_bundle
from tests.support.patience import until
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

LINES = 200_000
LINE_BYTES = 64


def tool(tmp_path, guests, *args):
    return make_bundle(tmp_path / "c1", "/app.wasm", *args, module=guests / "tool.wasm")


async def test_every_byte_is_there_when_the_exit_is_reported_though_the_reader_is_slow(tmp_path, guests):
    bundle = tool(tmp_path, guests, "out", str(LINES))
    async with running_shim(tmp_path) as shim:
        os.mkfifo(tmp_path / "out")
        read = []
        reader = threading.Thread(target=_read_slowly, args=(tmp_path / "out", read))
        reader.start()
        await shim.create("c1", bundle, stdout=str(tmp_path / "out"))
        await shim.start("c1")
        assert (await shim.wait("c1")).exit_status == 0
        await asyncio.to_thread(reader.join, 30)
        data = b"".join(read)
        assert len(data) == LINES * LINE_BYTES
        assert data.endswith(f"{LINES - 1:063d}\n".encode())


async def test_a_guest_with_streams_has_one_thread_for_them_on_any_host(tmp_path, guests):
    # A guest that writes until its pipe is full: it has done I/O, and is there to be looked at.
    bundle = tool(tmp_path, guests, "out", str(LINES))
    async with running_shim(tmp_path) as shim:
        os.mkfifo(tmp_path / "out")
        pid = await shim.create("c1", bundle, stdout=str(tmp_path / "out"))
        await shim.start("c1")
        await until(lambda: names_of_threads(pid).count("tokio-rt-worker") > 0)
        assert names_of_threads(pid).count("tokio-rt-worker") == 1


def names_of_threads(pid):
    return [path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")]


async def test_output_waits_for_a_reader_that_comes_after_the_end(tmp_path, guests):
    bundle = tool(tmp_path, guests, "args")
    async with running_shim(tmp_path) as shim:
        os.mkfifo(tmp_path / "out")
        await shim.create("c1", bundle, stdout=str(tmp_path / "out"))
        await shim.start("c1")
        await shim.wait("c1")
        text = await asyncio.wait_for(asyncio.to_thread(_read_all, tmp_path / "out"), 10)
        assert text == "/app.wasm\nargs\n"
        await shim.delete("c1")


async def test_an_unread_output_blocks_nothing_else(tmp_path, guests):
    bundle = tool(tmp_path, guests, "out", str(LINES))
    async with running_shim(tmp_path) as shim:
        os.mkfifo(tmp_path / "out")
        await shim.create("c1", bundle, stdout=str(tmp_path / "out"))
        await shim.start("c1")
        began = time.monotonic()
        assert (await shim.state("c1")).pid > 0
        await shim.kill("c1", 9)
        assert (await shim.wait("c1")).exit_status == 137
        await shim.delete("c1")
        assert time.monotonic() - began < 5


async def test_a_reader_that_leaves_does_not_end_the_guest(tmp_path, guests):
    bundle = tool(tmp_path, guests, "out", str(LINES))
    async with running_shim(tmp_path) as shim:
        os.mkfifo(tmp_path / "out")
        first = os.open(tmp_path / "out", os.O_RDONLY | os.O_NONBLOCK)
        await shim.create("c1", bundle, stdout=str(tmp_path / "out"))
        await shim.start("c1")
        os.set_blocking(first, True)
        head = len(await asyncio.to_thread(os.read, first, 1024))
        os.close(first)
        rest = await asyncio.wait_for(asyncio.to_thread(_read_all, tmp_path / "out"), 30)
        assert head + len(rest) == LINES * LINE_BYTES
        assert (await shim.wait("c1")).exit_status == 0


async def test_input_ends_for_the_guest_after_close_io_and_not_before(tmp_path, guests):
    bundle = tool(tmp_path, guests, "cat")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path, stdin=True)
        await shim.create("c1", bundle, fifos)
        waiting = asyncio.ensure_future(shim.wait("c1"))
        await shim.start("c1")
        for text in (b"first ", b"second"):  # a client that detaches and comes back
            writer = os.open(fifos.stdin, os.O_WRONLY)
            os.write(writer, text)
            os.close(writer)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await shim.call("CloseIO", api.CloseIORequest(id="c1", stdin=True))
        assert (await asyncio.wait_for(waiting, 10)).exit_status == 0
        assert fifos.output()[0] == "first second"
        fifos.close()


async def test_files_and_file_uris_take_output(tmp_path, guests):
    bundle = tool(tmp_path, guests, "err")
    (tmp_path / "plain").write_text("before\n")
    async with running_shim(tmp_path) as shim:
        await shim.run("c1", bundle, stderr=str(tmp_path / "plain"))
        assert (tmp_path / "plain").read_text() == "before\nto stderr\n"
        uri = f"file://{tmp_path}/made/for%20it/log"
        await shim.run("c1", bundle, stdout=uri, stderr=uri)
        assert (tmp_path / "made/for it/log").read_text() == "to stderr\n"


async def test_no_streams_at_all_are_no_trouble(tmp_path, guests):
    bundle = tool(tmp_path, guests, "cat")
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 0


@pytest.mark.parametrize(
    ("stdout", "error", "message"),
    [
        (f"{ABSENT}/fifo", NotFound, f"stdout '{ABSENT}/fifo' does not exist"),
        ("relative", InvalidArgument, "stdout 'relative'"),
        ("/", InvalidArgument, "stdout '/'"),
    ],
)
async def test_streams_that_cannot_be_are_refused_by_name(tmp_path, guests, stdout, error, message):
    bundle = tool(tmp_path, guests, "cat")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(error, match=message):
            await shim.create("c1", bundle, stdout=stdout)
        assert await shim.run("c1", bundle) == 0


async def test_streams_of_one_container_are_not_held_by_another(tmp_path, guests):
    quick = make_bundle(tmp_path / "quick", "/app.wasm", "args", module=guests / "tool.wasm")
    slow = make_bundle(tmp_path / "slow", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        await shim.create("quick", quick, fifos)
        await shim.create("slow", slow)  # forked while the other's FIFOs are open in the daemon
        await shim.start("slow")
        await shim.start("quick")
        await shim.wait("quick")
        assert fifos.output()[0] == "/app.wasm\nargs\n"
        assert fifos.at_end()
        fifos.close()


def _read_all(path):
    with open(path) as file:
        return file.read()


def _read_slowly(path, read):
    with open(path, "rb", buffering=0) as file:
        time.sleep(0.5)
        while data := file.read(1 << 16):
            read.append(data)


async def test_a_logger_takes_the_output_of_a_container_and_of_an_exec(tmp_path, guests):
    bundle = tool(tmp_path, guests, "say")
    script = "ls /proc/$$/fd > fds; exec 5>&-; cat <&3 >> $CONTAINER_NAMESPACE-$CONTAINER_ID & cat <&4 >> err; wait"
    logger = f"binary:///bin/sh?-c={quote(f'cd {tmp_path}; {script}')}"
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, stdout=logger, stderr=logger)
        await shim.start("c1")
        assert (await shim.wait("c1")).exit_status == 0
        await shim.delete("c1")  # returns once the logger has taken everything
        assert (tmp_path / "test-c1").read_text() == "ready\n"
        assert (tmp_path / "err").read_text() == ""
        await shim.create("c1", bundle)
        await shim.exec("c1", "e1", "/app.wasm", "args", terminal=True, stdout=logger)
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 0
        await shim.delete("c1", "e1")
        assert (tmp_path / "test-c1").read_text() == "ready\n/app.wasm\nargs\n"  # \r\n, as Python reads it
        assert {int(fd) for fd in (tmp_path / "fds").read_text().split()} <= {*range(6), 10}  # 10 is the shell's


async def test_an_exec_is_gone_for_everybody_while_its_logger_takes_the_rest(tmp_path, guests):
    logger = f"binary:///bin/sh?-c={quote('exec 5>&-; cat <&3 > /dev/null; sleep 1')}"
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", tool(tmp_path, guests, "cat"))
        await shim.exec("c1", "e1", "/app.wasm", "args", stdout=logger)
        await shim.start("c1", "e1")
        await shim.wait("c1", "e1")
        deleting = asyncio.ensure_future(shim.delete("c1", "e1"))

        async def ask():
            while not deleting.done():  # the exec is there until the daemon has read the Delete
                await shim.state("c1", "e1")

        with pytest.raises(NotFound, match="container 'c1' has no process 'e1'"):
            await ask()
        assert not deleting.done()
        assert (await deleting).exit_status == 0


async def test_a_crashed_logger_stops_no_process(tmp_path, guests):
    bundle = tool(tmp_path, guests, "out", "100000")
    logger = f"binary:///bin/sh?-c={quote('exec 5>&-; head -c 10 <&3 > /dev/null')}"
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, stdout=logger, stderr=logger)
        await shim.start("c1")
        assert (await asyncio.wait_for(shim.wait("c1"), 20)).exit_status == 0
        await shim.delete("c1")
        with pytest.raises(NotFound, match="logger '/none' does not exist"):
            await shim.create("c2", bundle, stdout="binary:///none")
        assert await shim.run("c3", bundle) == 0
