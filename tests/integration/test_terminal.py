"""Terminals: `ctr run -t` and `ctr task exec -t`, over ttrpc."""

import asyncio
import os
import select
import signal

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import config_of, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]


class Keyboard:
    """A client at a terminal: it types, and reads the screen."""

    def __init__(self, directory):
        directory.mkdir(exist_ok=True)
        self.fifos = Fifos(directory, stdin=True)
        self.screen = ""
        self._keys = -1

    def type(self, text):
        if self._keys < 0:
            self._keys = os.open(self.fifos.stdin, os.O_WRONLY)
        os.write(self._keys, text.encode())

    async def sees(self, text):
        """Wait until a text is on the screen."""
        deadline = asyncio.get_running_loop().time() + 10
        while text not in self.screen:
            assert asyncio.get_running_loop().time() < deadline, self.screen
            self.screen += self.fifos.output()[0]
            await asyncio.sleep(0.01)

    def detach(self):
        os.close(self._keys)
        self._keys = -1

    def close(self):
        if self._keys >= 0:
            self.detach()
        self.fifos.close()


async def started(shim, bundle, keyboard, container_id="c1"):
    await shim.create(container_id, bundle, keyboard.fifos, terminal=True)
    await shim.start(container_id)


async def resize(shim, container_id, width, height, exec_id=""):
    await shim.call("ResizePty", api.ResizePtyRequest(id=container_id, exec_id=exec_id, width=width, height=height))


async def test_what_is_typed_reaches_a_guest_and_comes_back(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "cat", module=guests / "tool.wasm")
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        state = await shim.state("c1")
        assert (state.terminal, state.stdin, state.stdout) == (True, keyboard.fifos.stdin, keyboard.fifos.stdout)
        assert shim.events.told()[0][0] == "create"
        keyboard.type("hello\n")
        await keyboard.sees("hello\r\n")  # the terminal's own echo
        keyboard.type("\x04")  # ^D, the end of the input, and cat's turn
        await keyboard.sees("hello\r\nhello\r\n")
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 0
        await keyboard.sees("")
        assert keyboard.fifos.output()[1] == ""  # a terminal has one output
        keyboard.close()


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x1c", 131)], ids=["^C", "^\\"])
async def test_keys_end_a_guest_also_as_the_first_of_its_namespace(tmp_path, guests, key, code):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        further = Keyboard(tmp_path / "tty2")
        await shim.exec("c1", "e1", "/app.wasm", fifos=further.fifos, terminal=True)
        await shim.start("c1", "e1")
        further.type(key)
        assert (await asyncio.wait_for(shim.wait("c1", "e1"), 10)).exit_status == code
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        keyboard.type(key)
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == code
        keyboard.close()
        further.close()


async def test_a_long_output_reaches_a_slow_reader_whole(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "out", "20000", module=guests / "tool.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        await shim.create("c1", bundle, fifos, terminal=True)
        await shim.start("c1")
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        await asyncio.sleep(0.3)  # a full FIFO, and the guest stopped in its write
        read = ""
        while not read.endswith(f"{19999:063d}\r\n"):
            await asyncio.sleep(0.01)
            read += fifos.output()[0]
        assert read == "".join(f"{number:063d}\r\n" for number in range(20000))
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 0
        fifos.close()


LINES = 11000  # 700 kB, as a terminal writes them
COUNT = f"i=0; while [ $i -lt {LINES} ]; do printf '%063d\\n' $i; i=$((i + 1)); done"


def writing(directory, kind, guests):
    """A bundle that runs on, with a program in it that writes all those lines; the program's words."""
    bundle = shell(directory, "while :; do sleep 1; done")
    for name in ("spin", "tool"):
        (bundle / "rootfs" / f"{name}.wasm").write_bytes((guests / f"{name}.wasm").read_bytes())
    if kind == "native":
        return bundle, ["/bin/sh", "-c", COUNT]
    change_config(bundle, process={**config_of(bundle)["process"], "args": ["/spin.wasm"]})
    return bundle, ["/tool.wasm", "out", str(LINES)]


@pytest.mark.parametrize("closing", ["none", "before", "after", "late"])
@pytest.mark.parametrize("exec_id", ["", "e1"], ids=["init", "exec"])
@pytest.mark.parametrize("kind", ["guest", "native"])
async def test_no_byte_is_lost_where_the_input_has_ended(tmp_path, guests, kind, exec_id, closing):
    """closing: when CloseIO comes, if ever; or how late the reader is."""
    bundle, words = writing(tmp_path / "c1", kind, guests)
    fifos = Fifos(tmp_path, stdin=True)
    expected = "".join(f"{number:063d}\r\n" for number in range(LINES))
    async with running_shim(tmp_path) as shim:
        if exec_id:
            await shim.create("c1", bundle)
            await shim.start("c1")
            await shim.exec("c1", exec_id, *words, fifos=fifos, terminal=True, env=["PATH=/usr/bin:/bin"])
        else:
            change_config(bundle, process={**config_of(bundle)["process"], "args": words})
            await shim.create("c1", bundle, fifos, terminal=True)
            os.close(os.open(fifos.stdin, os.O_WRONLY))
            if closing == "before":
                await shim.close_io("c1")
        await shim.start("c1", exec_id)
        if exec_id:
            os.close(os.open(fifos.stdin, os.O_WRONLY))
        if closing in ("before", "after"):
            await shim.close_io("c1", exec_id)
        if closing == "late":
            await asyncio.sleep(1.5)
        text = ""
        while len(text) < len(expected):
            more = await fifos.some(8192)
            if not more:
                break
            text += more
            await asyncio.sleep(0.005)
        assert text == expected
        assert (await asyncio.wait_for(shim.wait("c1", exec_id), 10)).exit_status == 0
        fifos.close()


@pytest.mark.parametrize("kind", ["guest", "native"])
async def test_a_delete_waits_for_a_reader_that_still_reads(tmp_path, guests, kind):
    bundle, words = writing(tmp_path / "c1", kind, guests)
    change_config(bundle, process={**config_of(bundle)["process"], "args": words})
    fifos = Fifos(tmp_path, stdin=True)
    expected = "".join(f"{number:063d}\r\n" for number in range(LINES))
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, fifos, terminal=True)
        os.close(os.open(fifos.stdin, os.O_WRONLY))
        await shim.start("c1")
        text = ""
        while (await shim.state("c1")).status == types_pb2.RUNNING:
            text += await fifos.some(8192)
        deleting = asyncio.ensure_future(shim.delete("c1"))
        while more := await fifos.some(2048):
            text += more
            await asyncio.sleep(0.06)  # longer than what runc's shim waits for, in all
        assert text == expected
        await deleting
        fifos.close()


async def test_a_shell_sees_the_end_once_it_has_been_silent(tmp_path):
    bundle = shell(tmp_path / "c1", "echo ready; read line || exit 3; sleep 60")
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        await keyboard.sees("ready")
        keyboard.type("")
        keyboard.detach()
        await shim.close_io("c1")
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 3
        keyboard.close()


async def test_a_client_detaches_and_comes_back(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "cat", module=guests / "tool.wasm")
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        for word in ("first", "second"):
            keyboard.type(f"{word}\n")
            await keyboard.sees(f"{word}\r\n")
            keyboard.detach()
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        keyboard.close()


async def test_a_terminal_hangs_up_when_no_client_can_return(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        await shim.close_io("c1")
        keyboard.type("lost")
        keyboard.detach()
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 129
        keyboard.close()


async def test_a_shell_has_a_terminal_of_its_size_and_gets_a_signal_when_that_changes(tmp_path):
    bundle = shell(
        tmp_path / "c1",
        # a signal with a trap ends dash's `read`
        "trap 'stty size' WINCH; stty size; tty; echo ready > /dev/tty; "
        "while :; do read line && echo got $line && exit 5; done",
        consoleSize={"width": 90, "height": 30},
    )
    async with running_shim(tmp_path) as shim:
        keyboard = Keyboard(tmp_path / "tty")
        await started(shim, bundle, keyboard)
        await keyboard.sees("30 90\r\n/dev/pts/0\r\nready\r\n")  # a terminal that is the container's own
        await resize(shim, "c1", 120, 40)
        await keyboard.sees("40 120\r\n")
        keyboard.type("on\n")
        await keyboard.sees("got on\r\n")
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 5
        await resize(shim, "c1", 1, 1)  # too late is no error
        keyboard.close()


async def test_the_console_is_the_terminal(tmp_path):
    script = 'echo told > /dev/console; [ "$(stat -Lc %t:%T /dev/console)" = "$(stat -Lc %t:%T "$(tty)")" ] && exit 7'
    bundle = shell(tmp_path / "c1", script)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos, terminal=True) == 7
        assert fifos.output()[0] == "told\r\n"
        fifos.close()


async def test_a_console_of_the_hosts_is_left_alone(tmp_path):
    """Nothing is made or mounted in a /dev that is the host's."""
    (tmp_path / "dev").mkdir()
    bundle = shell(tmp_path / "c1", "ls /dev")
    mounts = [mount for mount in config_of(bundle)["mounts"] if mount["destination"] != "/dev"]
    bind = {"destination": "/dev", "type": "bind", "source": str(tmp_path / "dev"), "options": ["rbind"]}
    change_config(bundle, mounts=[bind, *mounts])
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos, terminal=True) == 0
        assert "console" not in fifos.output()[0]
        assert not (tmp_path / "dev/console").exists()
        fifos.close()


async def test_an_exec_has_a_terminal_of_its_own(tmp_path):
    bundle = shell(tmp_path / "c1", "sleep 1000")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        await resize(shim, "c1", 80, 24)  # the container has none, which is no error
        keyboard = Keyboard(tmp_path / "tty")
        script = "stty size; tty; read line; echo got $line; sleep 1000"
        await shim.exec("c1", "e1", "sh", "-c", script, fifos=keyboard.fifos, terminal=True)
        await resize(shim, "c1", 100, 50, "e1")  # kept for its start
        await shim.start("c1", "e1")
        await keyboard.sees("50 100\r\n/dev/pts/0\r\n")
        keyboard.type("x\n")
        await keyboard.sees("got x\r\n")
        keyboard.type("\x03")
        assert (await asyncio.wait_for(shim.wait("c1", "e1"), 10)).exit_status == 130
        assert (await shim.state("c1", "e1")).terminal
        await shim.kill("c1", signal.SIGKILL)
        keyboard.close()


async def test_a_missing_reader_blocks_nothing(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "out", "100000", module=guests / "tool.wasm")
    os.mkfifo(tmp_path / "out")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, stdout=str(tmp_path / "out"), terminal=True)
        await shim.start("c1")
        await asyncio.sleep(0.2)
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        await shim.kill("c1", signal.SIGTERM)
        assert (await asyncio.wait_for(shim.wait("c1"), 10)).exit_status == 143
        await shim.delete("c1")


async def test_the_user_owns_the_terminal_and_the_client_sees_its_end(tmp_path):
    bundle = shell(
        tmp_path / "c1", "stat -Lc %u /dev/stdin; echo again > /proc/self/fd/1", user={"uid": 1000, "gid": 5}
    )
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos, terminal=True) == 0
        assert fifos.output()[0] == "1000\r\nagain\r\n"
        assert await asyncio.to_thread(_ended, fifos)
        fifos.close()


def _ended(fifos):
    select.select([], [], [], 0.1)
    return fifos.at_end()
