"""A process' line of numbers, read of real processes."""

import os
import signal
import subprocess
import sys

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


def test_the_command_line_lies_where_it_says():
    areas = process_stat.memory_map()
    start, end = areas["arg_start"], areas["arg_end"]
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        found = memory.read(end - start)
    with open("/proc/self/cmdline", "rb") as file:
        assert found == file.read()
    assert os.path.basename(sys.executable)[:6].encode() in found
