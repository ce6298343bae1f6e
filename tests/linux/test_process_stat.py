"""A process' line of numbers, read of real processes."""

import os
import signal
import subprocess

from pelagos_core.linux import process_stat


def test_a_process_is_leaving_once_it_is_killed_whoever_reaps_it():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not process_stat.is_leaving(process.pid)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_stat.is_leaving(process.pid)
    assert process_stat.is_leaving(process.pid)


def test_a_name_may_look_like_the_fields_that_follow_it(tmp_path):
    program = tmp_path / ") Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        assert not process_stat.is_leaving(process.pid)
        process.kill()
