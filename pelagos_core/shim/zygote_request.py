"""Where the zygote is, and what is asked of it: one datagram with one descriptor, the working directory. Lean.

request   a command line of the shim's, and what a program started by that process would inherit
answer    DONE and what is to be printed; REFUSED: it must be done without the zygote, which is well;
          STALE: without, and another zygote takes its place. No answer means the same as STALE

The compiled launcher (native/launcher/launcher.c) finds the same place and sends the same bytes.
"""

import _signal  # type: ignore[import-not-found]  # `signal` costs an enum; private, so not in typeshed
import os
import sys

from pelagos_core import __version__
from pelagos_core.shim.unix_socket import MAX_PATH, name_of

DIRECTORY = "/run/pelagos/zygote"
VARIABLE = "PELAGOS_ZYGOTE"
OFF = "off"

MAX_BYTES = 128 << 10
DONE = b"k"
REFUSED = b"r"
STALE = b"s"

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# What a fork inherits and cannot be given: proc(5), /proc/PID/status.
_INHERITED = frozenset(
    "Uid Gid SigBlk CapInh CapPrm CapEff CapBnd NoNewPrivs Seccomp Cpus_allowed Mems_allowed".split()
)
# Python ignores these in every process of its own, so a status line tells what was inherited without them. The
# last two are 32 and 33, the C library's own (signal(7)): CPython 3.13 ignores them.
_IGNORED_BY_PYTHON = 1 << (_signal.SIGPIPE - 1) | 1 << (_signal.SIGXFSZ - 1) | 3 << 31
# Of the environment: what backends see while they are loaded.
ENVIRONMENT = ("PATH", "PELAGOS_CONFIG")
# containerd's environment may hold credentials, and the init processes are copies of the daemon.
_KEPT = ("PATH", "TTRPC_ADDRESS", "PELAGOS_SOCKET_DIR", "PELAGOS_CONFIG", "PELAGOS_CACHE_DIR")


class Request:
    """A command line of the shim's, and what a program that its process starts would inherit.

    words: the command line without the program's name. environment: what of it a daemon has.
    umask: a number. oom_score_adj, cgroups, limits: the texts of these files of /proc/PID, `cgroup` and `limits`.
    """

    __slots__ = ("cgroups", "environment", "limits", "oom_score_adj", "umask", "words")

    def __init__(self, words: "list[str]", environment: "dict[str, str]") -> None:
        self.words = words
        self.environment = environment
        self.umask = 0
        self.oom_score_adj = self.cgroups = self.limits = ""

    def encode(self) -> bytes:
        """The request as one datagram: no field can hold a NUL."""
        fields = [str(self.umask), self.oom_score_adj, self.cgroups, self.limits, str(len(self.words))]
        fields += [*self.words, *(f"{name}={value}" for name, value in self.environment.items())]
        return os.fsencode("\0".join(fields))


def decode(datagram: bytes) -> Request:
    """The inverse. Raises ValueError."""
    umask, score, cgroups, limits, count, *rest = os.fsdecode(datagram).split("\0")
    words, pairs = rest[: int(count)], [pair.partition("=") for pair in rest[int(count) :]]
    request = Request(words, {name: value for name, _, value in pairs})
    request.umask, request.oom_score_adj = int(umask), score
    request.cgroups, request.limits = cgroups, limits
    return request


def own_request(words: "list[str]", environment: "dict[str, str] | None" = None) -> Request:
    """The request of this process for a command line. environment: for what a daemon has of it, if not its own."""
    given = os.environ if environment is None else environment
    request = Request(words, {name: given[name] for name in _KEPT if name in given})
    umask = os.umask(0o077)
    os.umask(umask)
    request.umask = umask
    request.oom_score_adj = read("/proc/self/oom_score_adj")
    request.cgroups = read("/proc/self/cgroup")
    request.limits = read("/proc/self/limits")
    return request


def kept_environment() -> "dict[str, str]":
    """What a daemon has of this process' environment."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def socket_path() -> str:
    """The path of the zygote whose forks are as good as programs that this process starts.

    There is one for each Python environment, and for all else that is inherited and not
    part of a request: namespaces, the root directory, privileges, signals. Empty if there is to be none.
    """
    directory = os.environ.get(VARIABLE) or DIRECTORY
    if directory == OFF:
        return ""
    path = f"{directory}/{name_of(_key())}"
    return path if len(os.fsencode(path)) <= MAX_PATH else ""


def installation() -> "list[str]":
    """What tells this Python environment, and this version of pelagos in it, from others."""
    return [__version__, sys.executable, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]


def _key() -> str:
    parts = installation()
    parts += [os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES]
    root = os.stat("/")
    parts.append(f"{root.st_dev}:{root.st_ino}")
    parts += [os.environ.get(name, "") for name in ENVIRONMENT]
    parts += [read("/proc/self/attr/current"), str(os.getpriority(os.PRIO_PROCESS, 0))]
    for line in read("/proc/self/status").split("\n"):
        name, _, value = line.partition(":")
        if name == "SigIgn":
            parts.append(f"SigIgn:\t{int(value, 16) & ~_IGNORED_BY_PYTHON:016x}")
        elif name in _INHERITED:
            parts.append(line)
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
