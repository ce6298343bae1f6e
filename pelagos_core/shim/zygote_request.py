"""The zygote's socket path and protocol: one datagram with one descriptor, the working directory. Lean.

request   a command line of the shim, and the attributes that a child of that process would inherit
answer    DONE and the bytes to print; REFUSED: the caller serves the request without the zygote, which works;
          STALE: the caller serves it and replaces the zygote. No answer means STALE

The compiled launcher (native/launcher/launcher.c) computes the same path and sends the same bytes.
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
# Attributes that a fork inherits and that cannot be set afterwards: proc(5), /proc/PID/status.
_INHERITED = frozenset(
    "Uid Gid SigBlk CapInh CapPrm CapEff CapBnd NoNewPrivs Seccomp Cpus_allowed Mems_allowed".split()
)
# Signals that Python sets to be ignored in every process; they are removed from the status line. The last two, 32 and
# 33, belong to the C library (signal(7)): CPython 3.13 ignores them.
_IGNORED_BY_PYTHON = 1 << (_signal.SIGPIPE - 1) | 1 << (_signal.SIGXFSZ - 1) | 3 << 31
# Variables of the environment that backends may read while they are loaded.
ENVIRONMENT = ("PATH", "PELAGOS_CONFIG")
# Variables that a daemon keeps. containerd's environment may contain credentials, and a forked init process is a copy
# of the daemon. So OTEL_EXPORTER_OTLP_HEADERS is not kept. OTEL_SERVICE_NAME is not kept either: containerd sets it
# for itself.
_KEPT = (
    "PATH",
    "TTRPC_ADDRESS",
    "PELAGOS_SOCKET_DIR",
    "PELAGOS_CONFIG",
    "PELAGOS_CACHE_DIR",
    "PELAGOS_METRICS",
    "OTEL_SDK_DISABLED",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
)


class Request:
    """A command line of the shim, and the attributes that a child of its process would inherit.

    words: the command line without the program's name. environment: the variables that a daemon keeps.
    umask: a number. oom_score_adj, cgroups, limits: the texts of /proc/PID/oom_score_adj, `cgroup` and `limits`.
    """

    __slots__ = ("cgroups", "environment", "limits", "oom_score_adj", "umask", "words")

    def __init__(self, words: "list[str]", environment: "dict[str, str]") -> None:
        self.words = words
        self.environment = environment
        self.umask = 0
        self.oom_score_adj = self.cgroups = self.limits = ""

    def encode(self) -> bytes:
        """Encode the request as one datagram. NUL separates the fields, which cannot contain a NUL."""
        fields = [str(self.umask), self.oom_score_adj, self.cgroups, self.limits, str(len(self.words))]
        fields += [*self.words, *(f"{name}={value}" for name, value in self.environment.items())]
        return os.fsencode("\0".join(fields))


def decode(datagram: bytes) -> Request:
    """Decode a datagram of `encode`. Raises ValueError."""
    umask, score, cgroups, limits, count, *rest = os.fsdecode(datagram).split("\0")
    words, pairs = rest[: int(count)], [pair.partition("=") for pair in rest[int(count) :]]
    request = Request(words, {name: value for name, _, value in pairs})
    request.umask, request.oom_score_adj = int(umask), score
    request.cgroups, request.limits = cgroups, limits
    return request


def own_request(words: "list[str]", environment: "dict[str, str] | None" = None) -> Request:
    """The request of this process for a command line. environment: to take a daemon's variables from; None: its own."""
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
    """The variables of this process' environment that a daemon keeps."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def socket_path() -> str:
    """The path of the zygote whose forks are equivalent to children of this process.

    It is a hash of the Python environment and of all inherited attributes that are not part of a request: namespaces,
    the root directory, privileges, signals. Empty if PELAGOS_ZYGOTE is `off`, or the path is too long.
    """
    directory = os.environ.get(VARIABLE) or DIRECTORY
    if directory == OFF:
        return ""
    path = f"{directory}/{name_of(_key())}"
    return path if len(os.fsencode(path)) <= MAX_PATH else ""


def installation() -> "list[str]":
    """The identity of this Python environment and of the version of pelagos in it."""
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
    """The text of a small file in /proc; empty if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = b""
        while chunk := os.read(fd, 1 << 16):  # a read of a long file returns one page
            text += chunk
        return os.fsdecode(text)
    except OSError:
        return ""
    finally:
        os.close(fd)
