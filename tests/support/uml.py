"""A separate machine for tests: User-Mode Linux, a kernel that runs as a process.

Its root is this machine's, read-only. It has a /tmp and /run in memory, its working directory at the same path, and
cgroup v2, independent of the host. On request, systemd is its first process. It needs no root privileges on the host;
processes in it are root there.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import provision

_MEMORY = "1G"
_EXIT = "uml: exit code "
# Halt through the kernel's sysrq file, because `reboot -f` is not installed everywhere.
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
# Where systemd is the first process, its root is a Debian of its own. One of its services runs this, with
# this machine's files at /host, and the command in them. A root that is no mount namespace's own cannot be
# left by pivot_root(2) where the mount above it is shared.
_SCRIPT_OF_A_SERVICE = """\
mount --make-rprivate /
for name in proc sys dev; do mount --rbind /$name /host/$name; done
mount -t tmpfs tmpfs /host/run
mkdir /host/run/tree
mount --bind /host{directory} /host/run/tree
mount -t tmpfs tmpfs /host/tmp
[ -d /host{directory} ] || {{ mkdir -p /host{directory} && mount --bind /host/run/tree /host{directory}; }}
for name in systemd dbus; do mkdir /host/run/$name && mount --rbind /run/$name /host/run/$name; done
{exports}
chroot /host sh -c {inside}
echo "{mark}$?"
echo o > /proc/sysrq-trigger
while :; do sleep 1; done
"""


def run_tests(
    words: Sequence[str],
    directory: Path,
    work: Path,
    environment: Mapping[str, str] | None = None,
    *,
    systemd: bool = False,
) -> tuple[int, str]:
    """Boot and run pytest with these words; see `run`.

    environment: further variables.
    """
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "PELAGOS_CACHE": str(provision.CACHE),
        "PYTHONDONTWRITEBYTECODE": "1",  # this machine's files are read-only there
        "CI": "true",  # no test may be skipped
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return run(command, directory, work, {**own, **(environment or {})}, systemd=systemd)


def run(
    command: Sequence[str], directory: Path, work: Path, environment: Mapping[str, str], *, systemd: bool = False
) -> tuple[int, str]:
    """Boot, run a command as root, and halt; return its exit code and all output.

    work: a directory for the kernel's memory file and the script that runs the command.
    systemd: whether systemd is the first process, which runs the command as a service.
    The kernel is killed if the calling test ends. Raises AssertionError if the command has not ended.
    """
    script = work / "init"
    root, first, text = Path("/"), [f"init={script}"], _SCRIPT
    if systemd:
        root, text = provision.systemd_root(), _SCRIPT_OF_A_SERVICE
        first = ["init=/lib/systemd/systemd", "systemd.unit=test.service", f"systemd.setenv=UML_SCRIPT={script}"]
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    where, what = shlex.quote(str(directory)), shlex.join(command)
    inside = shlex.quote(f"cd {where} && {what}")
    script.write_text(text.format(exports=exports, directory=where, command=what, inside=inside, mark=_EXIT))
    script.chmod(0o755)
    words = [str(provision.uml()), f"mem={_MEMORY}", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "ro"]
    words += [*first, "con=null", "con0=null,fd:1", "quiet", "loglevel=1"]
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
