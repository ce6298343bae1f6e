"""What a child puts off: signal handlers and descriptors."""

import os
import signal
import time

import pytest

from pelagos_core.linux import forked
from tests.support.child import in_child


def test_only_the_named_descriptors_stay_open():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        inner = os.pipe()
        forked.close_all_but(writer, inner[0])
        os.write(
            writer, bytes([_is_open(0), _is_open(writer), _is_open(inner[0]), _is_open(inner[1]), _is_open(reader)])
        )
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 16) == bytes([1, 1, 1, 0, 0])
    os.close(reader)
    os.close(writer)


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_handlers_of_the_parent_are_gone():
    def child():
        signal.signal(signal.SIGTERM, lambda *_: None)
        forked.restore_signals()
        return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN

    assert in_child(child)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_child_ends_with_its_parent_also_with_one_that_is_gone_already(when):
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            if when == "after":
                forked.end_with_parent(writer)
            os.write(tell, b"ready")
            time.sleep(0.2)
            forked.end_with_parent(writer)
            time.sleep(60)
        time.sleep(60)
    assert os.read(told, 16) == b"ready"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(tell)
    assert os.read(told, 16) == b""  # the child was the last process that had it open
    os.close(told)
