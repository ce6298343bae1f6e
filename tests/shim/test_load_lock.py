"""One process loads a zygote; others wait for it, but not for ever."""

import os
import signal
import threading
import time

import pytest

from pelagos_core.shim import load_lock


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "zygotes/one")


def test_the_first_has_it_and_a_second_one_that_does_not_wait_has_not(path):
    ours = load_lock.take(path, load_lock.SECONDS)
    assert ours >= 0
    assert load_lock.take(path, 0) == load_lock.NOT_HELD
    load_lock.end(path, ours)
    assert os.listdir(os.path.dirname(path)) == []


def test_the_next_has_it_once_it_has_ended(path):
    ours = load_lock.take(path, load_lock.SECONDS)
    threading.Timer(0.05, load_lock.end, (path, ours)).start()
    theirs = load_lock.take(path, 60)
    assert theirs >= 0
    load_lock.end(path, theirs)


def test_a_turn_that_takes_too_long_is_not_waited_for(path):
    ours = load_lock.take(path, load_lock.SECONDS)
    assert load_lock.take(path, 0.05) == load_lock.NOT_HELD
    os.utime(ours, (time.time() + 3600,) * 2)  # the clock was set back meanwhile
    assert load_lock.take(path, 60) == load_lock.NOT_HELD
    load_lock.end(path, ours)


@pytest.mark.parametrize("waits", [True, False])
def test_a_killed_process_releases_it(path, waits):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        load_lock.take(path, load_lock.SECONDS)
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    if waits:
        threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ours = load_lock.take(path, 60)
    assert ours >= 0
    load_lock.end(path, ours)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)


def test_without_a_directory_no_process_holds_it_and_none_waits(tmp_path):
    (tmp_path / "file").touch()
    assert load_lock.take(str(tmp_path / "file/one"), load_lock.SECONDS) == load_lock.NOT_HELD
    os.symlink("/etc/passwd", tmp_path / "one.lock")
    assert load_lock.take(str(tmp_path / "one"), load_lock.SECONDS) == load_lock.NOT_HELD
    load_lock.end(str(tmp_path / "two"), load_lock.NOT_HELD)


def test_a_process_that_has_waited_and_a_new_one_do_not_both_hold_it(path):
    ours = load_lock.take(path, load_lock.SECONDS)
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(load_lock.take(path, 60)))
    waiting.start()
    time.sleep(0.05)
    load_lock.end(path, ours)
    anew = load_lock.take(path, 0)
    if anew != load_lock.NOT_HELD:
        load_lock.end(path, anew)
    waiting.join()
    (theirs,) = taken
    assert theirs != load_lock.NOT_HELD
    assert load_lock.take(path, 0) == load_lock.NOT_HELD
    load_lock.end(path, theirs)
