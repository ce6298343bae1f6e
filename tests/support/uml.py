"""A machine of its own for tests: User-Mode Linux, a kernel that runs as a process.

It has this machine's files as its root, read-only, memory-backed /tmp and /run, the directory it is
to work in wherever that is, and cgroup v2 whatever the host has. Needs no root; what runs in it is its root.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import provision

_MEMORY = "1G"
_EXIT = "uml: exit code "
# `reboot -f` and its like are not everywhere; sysrq is the kernel's own.
_SCRIPT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir /run/tree
mount --bind {directory} /run/tree
mount -t tmpfs tmpfs /tmp
[ -d {directory} ] || {{ mkdir -p {directory} && mount --bind /run/tree {directory}; }}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
{exports}
cd {directory}
{command}
echo "{mark}$?"
echo o > /proc/sysrq-trigger
while :; do sleep 1; done
"""


def run(command: Sequence[str], directory: Path, work: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Boot, run a command as root, and halt; its exit code and all that was printed.

    work: where the kernel keeps its own memory, a file, and the script that is its first
    process. Ended with the test that called it. Raises AssertionError if it did not get so far.
    """
    script = work / "init"
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    script.write_text(
        _SCRIPT.format(exports=exports, directory=shlex.quote(str(directory)), command=shlex.join(command), mark=_EXIT)
    )
    script.chmod(0o755)
    words = [str(provision.uml()), f"mem={_MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    words += [f"init={script}", "con=null", "con0=null,fd:1", "quiet", "loglevel=1"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={"PATH": os.environ["PATH"], "HOME": str(work), "TMPDIR": str(work)},  # it writes into both
        start_new_session=True,  # its processes are the host's too: one group of them
    )
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert _EXIT in output, f"it did not come to an end of its own:\n{output}"
    said, _, code = output.rpartition(_EXIT)
    return int(code.split()[0]), said
