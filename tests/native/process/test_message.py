"""What the compiled library sends to the daemon, as the daemon parses it."""

import contextlib
import errno
import hashlib
import os
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.launch import messages
from pelagos_core.launch.messages import Contents, Found, Ready, Stopped, decode
from pelagos_core.native import library
from pelagos_core.native.instruction import Slot, instruction
from pelagos_core.native.process import NativeProcess
from tests.support.c_program import NATIVE

HEAD = b"\0asm\1\0\0\0"
FIND = instruction("find_entrypoint", Slot("entry point"), b"\x7fELF", b"#!", b"\0asm", "/none", "/app.wasm")


class Conversation:
    """A process that has a daemon, and a root with an entry point."""

    def __init__(self, root):
        self.daemon, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = NativeProcess(str(root))
        self.process["control"] = self.control.fileno()

    def tells(self, *instructions):
        """Carry instructions out; the message, and the bytes of the file that comes along."""
        assert self.process.run([instruction("open_root"), *instructions]) is None
        return self.hear()

    def hear(self):
        datagram, fds, _, _ = socket.recv_fds(self.daemon, messages.MAX_BYTES + 1, 2)
        contents = [os.pread(fd, 1 << 20, 0) for fd in fds]
        for fd in fds:
            os.close(fd)
        return decode(datagram), contents

    def stop(self, error, detail):
        self.process._fields.detail = detail
        library.library().message_stopped(self.process._memory, error)
        return self.hear()[0]


@pytest.fixture
def conversation(tmp_path):
    with contextlib.ExitStack() as stack:
        made = Conversation(tmp_path)
        stack.enter_context(made.daemon)
        stack.enter_context(made.control)
        yield made
        for slot in ("root", "entry point"):
            if slot in made.process:
                os.close(made.process[slot])


def test_the_first_entry_point_that_is_there_is_described(conversation, tmp_path):
    module = HEAD + bytes(70000)
    (tmp_path / "app.wasm").write_bytes(module)
    mode = (tmp_path / "app.wasm").stat().st_mode
    found = Found(1, mode, HEAD.hex(), hashlib.sha256(module).hexdigest())
    assert conversation.tells(FIND) == (found, [module])


def test_of_a_native_program_as_much_is_reported_as_names_its_interpreter(conversation, tmp_path):
    script = b"#!/bin/sh -eu\n" + b"#" * 9000
    (tmp_path / "app.wasm").write_bytes(script)
    found, contents = conversation.tells(FIND)
    assert (bytes.fromhex(found.head), found.digest) == (script[:4096], "")
    assert contents == [script]


@pytest.mark.parametrize("most", [0, 5, 100])
def test_a_copy_of_a_file_is_sent(conversation, tmp_path, most):
    (tmp_path / "users").write_bytes(b"root:x:0:0")
    assert conversation.tells(instruction("send_contents", "/users", most)) == (Contents(), [b"root:x:0:0"[:most]])
    assert conversation.tells(instruction("send_contents", "/none", most)) == (Contents(), [b""])


def test_a_process_that_is_ready_waits_for_the_word_that_the_daemon_has_for_it(conversation):
    conversation.daemon.send(messages.GO)
    assert conversation.tells(instruction("wait_for_start")) == (Ready(), [])


@given(st.binary(max_size=4095).filter(lambda detail: 0 not in detail), st.integers(1, 4095))
def test_why_a_plan_has_stopped_is_reported_whatever_the_detail(detail, error):
    made = Conversation("/")
    with made.daemon, made.control:
        assert made.stop(error, detail) == Stopped(0, 0, error, 0, detail.decode("utf-8", "replace"))


@pytest.mark.parametrize("byte", [b"\1", b'"', b"\\", b"\xff", b"a"])
def test_the_longest_detail_fits_into_a_message(conversation, byte):
    said = conversation.stop(errno.EINVAL, byte * 4095)
    assert said.detail == (byte * 4095).decode("utf-8", "replace")


def test_each_message_in_c_is_one_that_the_daemon_knows():
    texts = "".join(path.read_text() for path in NATIVE.glob("*/*.c"))
    names = set(re.findall(r'"\[\\"(\w+)\\"', texts))
    # Two of them are for tests/launch/test_nursery.py and tests/isolation/test_second_stage.py to hear.
    assert names == {"Found", "Contents", "Ready", "Stopped"} | {"Refused", "SecondStage"}
    assert names <= set(messages._KINDS)
