"""A node of another make: a small root file system, what is changed in it gone at the end, and its own processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts import engines, node_packages, release
from tests.support import provision

# What a test changes is in memory. The first process is the script's shell: with it all others end.
_SETUP = """\
set -e
lower=$1 work=$2 script=$3
shift 3
mount -t tmpfs none $work
mkdir $work/upper $work/work $work/root
mount -t overlay -o lowerdir=$lower,upperdir=$work/upper,workdir=$work/work none $work/root
cd $work/root
mkdir -p proc sys dev run tmp mnt opt
mount -t proc none proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs none run
mount -t tmpfs none tmp
while [ $# -gt 0 ]; do
    mkdir -p .$2
    mount --bind $1 .$2
    shift 2
done
pivot_root . mnt
exec /bin/sh -c "umount -l /mnt
$script"
"""


def without_python() -> Path:
    """A root file system with busybox and nothing else."""
    return _root("busybox", ["--variant=extract", "--include=busybox-static"])


def debian() -> Path:
    """A small Debian 13 with its Python."""
    return _root("debian", ["--variant=minbase", "--include=python3"])


def _root(name: str, words: list[str]) -> Path:
    target = provision.CACHE / f"node-{name}"
    if target.exists():
        return target
    engines.tool("mmdebstrap")
    part = Path(tempfile.mkdtemp(prefix=f"node-{name}-", dir=provision.CACHE))
    part.chmod(0o755)
    subprocess.run(["mmdebstrap", "--quiet", *words, "trixie", str(part)], check=True, stdin=subprocess.DEVNULL)
    if name == "busybox":
        (part / "bin").mkdir()
        for applet in ("sh", "umount"):
            (part / "bin" / applet).symlink_to("/usr/bin/busybox")
    part.rename(target)
    return target


def packages(directory: Path) -> Path:
    """A directory with this machine's archive, Debian package and installer: PELAGOS_PACKAGES, or this one."""
    if "PELAGOS_PACKAGES" in os.environ:
        return Path(os.environ["PELAGOS_PACKAGES"]).resolve()
    for distribution in release.DISTRIBUTIONS:
        words = [sys.executable, "-m", "build", "-nw", "-o", directory, distribution]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PELAGOS_RELEASE": "1"})
        assert done.returncode == 0, done.stdout + done.stderr
    for make in (node_packages.archive, node_packages.deb, node_packages.installer):
        make(os.uname().machine, directory)
    return directory


def run(root: Path, script: str, binds: Mapping[Path, str]) -> str:
    """Run a script as the first process of a node; what it has printed.

    binds: directories of this machine, each with its place there, read and written as they are.
    Raises AssertionError with all output if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="node-") as work:
        places = [word for source, place in binds.items() for word in (str(source), place)]
        words = ["unshare", "-mpf", "--kill-child", "--propagation=private", "sh", "-c", _SETUP, "sh"]
        done = subprocess.run(
            [*words, str(root), work, script, *places],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=150,
        )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}"
    return done.stdout
