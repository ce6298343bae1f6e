"""A process' line of numbers, read of real processes."""

import os
import signal
import subprocess
import sys

from pelagos_core.linux import process_stat


def test_a_killed_process_is_leaving_until_it_is_reaped():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not process_stat.is_exiting(process.pid)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_stat.is_exiting(process.pid)
    assert process_stat.is_exiting(process.pid)


def test_a_name_may_look_like_the_fields_that_follow_it(tmp_path):
    program = tmp_path / ") Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        assert not process_stat.is_exiting(process.pid)
        process.kill()


def test_a_process_has_a_parent():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process_stat.parent(process.pid) == os.getpid()
        process.kill()


def test_a_process_catches_what_it_has_a_handler_for():
    code = "import signal, sys; signal.signal(15, lambda *_: None); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        assert process_stat.catches(process.pid, signal.SIGTERM)
        assert not process_stat.catches(process.pid, signal.SIGUSR2)
        process.kill()
    assert not process_stat.catches(process.pid, signal.SIGTERM)
