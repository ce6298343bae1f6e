"""Finds remains of `pelagos run`: daemons, directories, control groups and mounts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pelagos_core.daemon import runs
from tests.support.containerd import until


def left_by_runs() -> set[str]:
    """The remains of runs whose command has exited, one text for each."""
    daemons = {f"daemon {pid}: {_words(pid)}" for pid in filter(str.isdigit, os.listdir("/proc")) if _is_daemon(pid)}
    own = [place for place in runs.places(os.geteuid()) if os.path.isdir(place)]
    directories = {os.path.join(place, name) for place in own for name in os.listdir(place)}
    groups = {path for path, _, _ in os.walk("/sys/fs/cgroup") if "/pelagos/run-" in path}
    alive = [run.id for run in runs.listed(os.geteuid()) if os.path.exists(f"/proc/{run.pid}")]
    with open("/proc/self/mounts") as file:
        found = daemons | directories | groups | set(file)
    return {each for each in found if not any(run_id in each for run_id in alive)}


def _is_daemon(pid: str) -> bool:
    words = _words(pid)
    return words.startswith("containerd-shim-") and " -owner " in words


def wait_until_nothing_is_left(before: set[str], seconds: float = 15) -> None:
    """Wait until all remains that were not in `before` have disappeared."""
    left = left_by_runs() - before

    def gone() -> bool:
        left.intersection_update(left_by_runs())
        return not left

    until(gone, seconds, lambda: str(sorted(left)))


def _words(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def native_words(root: Path) -> list[str]:
    """The words of `pelagos run` before a native program of the host. root: an empty directory."""
    words = []
    for name in ("bin", "sbin", "lib", "lib64", "usr"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), root / name)
        elif os.path.isdir(f"/{name}"):
            words += ["-v", f"/{name}:/{name}:ro"]
    return [*words, "--env", "PATH=/usr/bin:/bin", str(root)]


PELAGOS = (sys.executable, "-m", "pelagos_core")


def pelagos(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with these words; return its output and exit code."""
    return subprocess.run([*PELAGOS, *map(str, words)], capture_output=True, text=True, timeout=60, **options)


@contextlib.contextmanager
def detached(*words: object) -> Iterator[str]:
    """Run `pelagos run -d` with these words; yield the container's id, and remove the container afterwards."""
    before = left_by_runs()
    done = pelagos("run", "-d", *words)
    assert (done.returncode, done.stderr) == (0, "")
    try:
        yield done.stdout.strip()
    finally:
        pelagos("rm", "-f", done.stdout.strip())
    wait_until_nothing_is_left(before)
