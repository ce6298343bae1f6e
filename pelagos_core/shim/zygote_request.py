"""Where the zygote is, and what `start` asks of it: one datagram with two descriptors. Lean.

start -> zygote   the request, with the listener and the log
zygote -> start   STALE; or ACK, by its fork, once that is what `start` wants, if this can fail
start -> daemon   GO: only now is the listener the daemon's, and `start` will make no other
"""

import os
import sys

from pelagos_core import __version__
from pelagos_core.shim.unix_socket import MAX_PATH, name_of

DIRECTORY = "/run/pelagos/zygote"
VARIABLE = "PELAGOS_ZYGOTE"
OFF = "off"

MAX_BYTES = 128 << 10
FDS = 2
ACK = b"k"
STALE = b"s"
GO = b"g"

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# What a fork inherits and cannot be given: proc(5), /proc/PID/status.
_INHERITED = frozenset(
    "Uid Gid SigBlk SigIgn CapInh CapPrm CapEff CapBnd NoNewPrivs Seccomp Cpus_allowed Mems_allowed".split()
)
# Of the environment: what backends see while they are loaded.
ENVIRONMENT = ("PATH", "PELAGOS_CONFIG")


class Request:
    """What a daemon is to have that `start` has, or was told.

    words: the daemon's command line. environment: all of it. umask, oom_score_adj: numbers.
    cgroups, limits: the text of /proc/PID/cgroup and /proc/PID/limits.
    """

    __slots__ = ("cgroups", "environment", "limits", "oom_score_adj", "umask", "words")

    def __init__(self, words: "list[str]", environment: "dict[str, str]") -> None:
        self.words = words
        self.environment = environment
        self.umask = self.oom_score_adj = 0
        self.cgroups = self.limits = ""

    def encode(self) -> bytes:
        """The request as one datagram: no field can hold a NUL."""
        fields = [str(self.umask), str(self.oom_score_adj), self.cgroups, self.limits, str(len(self.words))]
        fields += [*self.words, *(f"{name}={value}" for name, value in self.environment.items())]
        return os.fsencode("\0".join(fields))


def decode(datagram: bytes) -> Request:
    """The inverse. Raises ValueError."""
    umask, score, cgroups, limits, count, *rest = os.fsdecode(datagram).split("\0")
    words, pairs = rest[: int(count)], [pair.partition("=") for pair in rest[int(count) :]]
    request = Request(words, {name: value for name, _, value in pairs})
    request.umask, request.oom_score_adj = int(umask), int(score)
    request.cgroups, request.limits = cgroups, limits
    return request


def socket_path() -> str:
    """The path of the zygote whose forks are as good as programs that this process starts.

    There is one for each Python environment, and for all else that is inherited and not
    part of a request: namespaces, privileges, signals. Empty if there is to be none.
    """
    directory = os.environ.get(VARIABLE) or DIRECTORY
    if directory == OFF:
        return ""
    path = f"{directory}/{name_of(_key())}"
    return path if len(os.fsencode(path)) <= MAX_PATH else ""


def _key() -> str:
    parts = [__version__, sys.executable, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    parts += [os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES]
    parts += [os.environ.get(name, "") for name in ENVIRONMENT]
    parts += [read("/proc/self/attr/current"), str(os.getpriority(os.PRIO_PROCESS, 0))]
    parts += [line for line in read("/proc/self/status").split("\n") if line.split(":", 1)[0] in _INHERITED]
    return "\0".join(parts)


def read(path: str) -> str:
    """The text of a small file of /proc; empty if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = b""
        while chunk := os.read(fd, 1 << 16):  # of a long one each read gives a page
            text += chunk
        return os.fsdecode(text)
    except OSError:
        return ""
    finally:
        os.close(fd)
