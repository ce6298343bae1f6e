"""What tests have started, mounted and made, so that it ends with them."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pelagos_core.isolation import seccomp

LASTING = "lasting"
"""The directory, in a session's own, of what all of its tests use."""

_LONGEST = 12  # of the name of a directory for sockets' directories: unix(7) has room for 107 bytes in all
_SYSTEMD = re.compile(r"\.(slice|scope|service)(/|$)")
_SEEN = ("/run/pelagos", "/run/netns")  # where the machine sees what tests leave


def own_directory() -> str:
    """Make the directory of this session's temporary files: short enough for sockets, open to all users as /tmp is."""
    place = tempfile.gettempdir()
    made = tempfile.mkdtemp(prefix="pt-", dir=place if len(place) <= _LONGEST else "/tmp")
    os.chmod(made, 0o1777)
    os.open(made, os.O_PATH | os.O_CLOEXEC)  # stays open: forks are known by it
    tempfile.tempdir = made
    return made


def lasting_directory() -> Path:
    """Make a directory for what all tests of a session use. It is removed with the session's own directory."""
    parent = Path(tempfile.gettempdir(), LASTING)
    parent.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


def processes(*places: str) -> dict[int, str]:
    """The processes that tests have started: pid -> its words.

    They are this one's children, and those with one of these directories in their words, their environment,
    as their working directory or, as a fork of this one has, open.
    """
    return {pid: words for pid in _pids() if (words := _words(pid)) and _is_ours(pid, words, places)}


def _is_ours(pid: int, words: str, places: tuple[str, ...]) -> bool:
    if _parent(pid) == os.getpid():
        return True
    environment = _read(f"{pid}/environ").decode("utf-8", "replace")
    texts = [words, environment, *_links(f"{pid}/cwd")]
    if words == _words(os.getpid()):  # as other processes of pytest-xdist are, or of another session
        texts = _links(*(f"{pid}/fd/{fd}" for fd in _open(pid)))
    return any(place in text for place in places for text in texts)


def mounts(*places: str) -> set[str]:
    """What is mounted below directories."""
    with open("/proc/self/mountinfo") as file:
        paths = {line.split()[4] for line in file}
    return {path for path in paths if any(path.startswith(f"{place}/") for place in places)}


def shared() -> set[str]:
    """What tests could leave where the whole machine can see it: control groups, network namespaces, files in /run.

    systemd's own groups come and go. The parent of the groups of `pelagos run` stays, and so do compiled profiles.
    """
    groups = {root for root, _, _ in os.walk("/sys/fs/cgroup") if not _SYSTEMD.search(root)}
    files = {str(path) for place in _SEEN for path in Path(place).rglob("*")}
    return {path for path in groups | files if os.path.basename(path) != "pelagos" and seccomp.CACHE not in path}


def _pids() -> Iterator[int]:
    return (pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != os.getpid())


def _words(pid: int) -> str:
    """A process' words; empty for a zombie."""
    return _read(f"{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _read(name: str) -> bytes:
    try:
        return Path("/proc", name).read_bytes()
    except OSError:
        return b""


def _open(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def _links(*names: str) -> list[str]:
    found = []
    for name in names:
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{name}"))
    return found


def _parent(pid: int) -> int:
    fields = _read(f"{pid}/stat").rpartition(b")")[2].split()  # proc(5): the state, the parent
    return int(fields[1]) if fields else 0
