"""The policy of a Wasm guest: what it may use of its container.

Without a policy it may use everything. The node's config, the runtime options, and the annotations of the pod and of
the container restrict it, in this order and by the same words. No word permits more: the author of an image may set
an annotation. Some words for a guest that handles HTTP requests do not restrict: of these the last one is used, the
nearest to the container.

    dirs = "/data:ro,/tmp"    only these of the container's directories, or "none"
    env = "HOME,LANG"         only these of its variables, or "none"
    network = "none"          no network; "outbound": it may connect, but not listen
    stdin = "none"            no input
    deadline = "1h30m"        the maximum time from its start to its end
    fuel = "1000000"          the maximum of executed code, in the engine's own units (fuel)
    http-timeout = "30s"      the maximum time of one request, for a guest that handles requests
    http-address = "8080"     the address for requests, in the container's network; the nearest setting is used
    scale-to-zero = "5m"      the engine ends after this time without requests; the nearest setting is used
    http-log = "prefixed"     each line of output has a prefix with the request; "plain": no prefix
    seccomp = "engine"        system calls: at least the spec's profile (spec), or also that of engines (engine)
"""

from __future__ import annotations

import posixpath
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pelagos_core.config import duration
from pelagos_core.errors import InvalidArgument

NONE, OUTBOUND = "none", "outbound"
HTTP_ADDRESS = "0.0.0.0:8080"
"""The default address for a guest that handles HTTP requests, in its container's own network."""

PREFIXED = "prefixed"
OFF = "off"
SECCOMP = ("off", "spec", "engine")
"""The levels of system call filtering, the weakest first. The last one is the default."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_VARIABLE = re.compile(r"[^=,\s]+")


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the container that the guest may use."""

    path: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a guest may use.

    directories: each tuple restricts the guest to these of the directories that the tuples before it allow.
    env: names of variables; None for all. network, stdin: whether it may use them.
    listens: whether it may bind and listen, if it has a network.
    host_network: whether it may use the host's network. Not a word: only the node's config can set it.
    deadline: seconds; None for no limit. fuel: None for no limit. seccomp: one of SECCOMP.
    http_timeout: seconds for one request; None for no limit. http_address: the address for requests, as
        `ADDRESS:PORT`; empty if no word sets it. http_prefixes: whether each line of output has a prefix.
    scale_to_zero: seconds without a request after which a serving engine ends; None: it does not end.
    """

    directories: tuple[tuple[Directory, ...], ...] = ()
    env: frozenset[str] | None = None
    network: bool = True
    listens: bool = True
    host_network: bool = False
    stdin: bool = True
    deadline: float | None = None
    fuel: int | None = None
    seccomp: str = SECCOMP[-1]
    http_timeout: float | None = None
    http_address: str = ""
    http_prefixes: bool = False
    scale_to_zero: float | None = None

    @property
    def confines_engines(self) -> bool:
        """Whether an engine runs with the system call filter of engines."""
        return self.seccomp == SECCOMP[-1]

    def narrowed(
        self, words: Mapping[str, str], called: Callable[[str], str], others: frozenset[str] = frozenset()
    ) -> Policy:
        """Return a policy that is restricted by words.

        called: returns the name of a word for errors. others: words to ignore, which have another meaning.
        Raises InvalidArgument that names the word. An unknown word is an error: ignoring it could permit too much.
        """
        policy = self
        for key in sorted(words.keys() - others):
            if key not in WORDS:
                raise InvalidArgument(f"{called(key)}: unknown (known: {', '.join(sorted(WORDS.keys() | others))})")
            try:
                policy = WORDS[key](policy, words[key])
            except (ValueError, InvalidArgument) as error:
                raise InvalidArgument(f"{called(key)}: {error}") from None
        return policy

    def variables(self, env: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the `NAME=VALUE` strings that the guest may have."""
        if self.env is None:
            return env
        return tuple(variable for variable in env if variable.partition("=")[0] in self.env)


EVERYTHING = Policy()
"""The policy without any restriction."""


def _dirs(policy: Policy, word: str) -> Policy:
    found = () if word == NONE else tuple(_directory(item) for item in word.split(","))
    paths = [directory.path for directory in found]
    if doubled := next((path for path in paths if paths.count(path) > 1), ""):
        raise ValueError(f"{doubled!r} is repeated")
    return replace(policy, directories=(*policy.directories, tuple(sorted(found, key=lambda each: each.path))))


def _directory(item: str) -> Directory:
    path = item.removesuffix(":ro")
    if not path.startswith("/") or ".." in path.split("/") or ":" in path:
        raise ValueError(f"{item!r} is not an absolute path, with or without ':ro'")
    # One slash: normpath keeps two leading slashes, since POSIX does not define their meaning.
    return Directory(posixpath.normpath(f"/{path.lstrip('/')}"), path != item)


def _env(policy: Policy, word: str) -> Policy:
    names = frozenset() if word == NONE else frozenset(word.split(","))
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a variable")
    return replace(policy, env=names if policy.env is None else names & policy.env)


def _only_none(word: str) -> bool:
    if word != NONE:
        raise ValueError(f"{word!r} is not 'none'")
    return False


def _network(policy: Policy, word: str) -> Policy:
    if word == NONE:
        return replace(policy, network=False)
    if word == OUTBOUND:
        return replace(policy, listens=False)
    known = f"'{NONE}' or '{OUTBOUND}'"
    if ":" in word:
        raise ValueError(f"{word!r} is not {known}: engines cannot restrict a guest to a list of addresses")
    raise ValueError(f"{word!r} is not {known}")


def _deadline(policy: Policy, word: str) -> Policy:
    return replace(policy, deadline=_shorter(policy.deadline, word))


def _http_timeout(policy: Policy, word: str) -> Policy:
    return replace(policy, http_timeout=_shorter(policy.http_timeout, word))


def _shorter(before: float | None, word: str) -> float:
    seconds = duration.parse(word)
    if not seconds:
        raise ValueError(f"{word!r} is not more than 0")
    return seconds if before is None else min(seconds, before)


def _http_address(policy: Policy, word: str) -> Policy:
    """Replace the address. This permits nothing more: the container's network and user restrict the address."""
    return replace(policy, http_address=address(word))


def address(word: str) -> str:
    """Complete `8080`, `:8080`, `127.0.0.1:8080` or `[::1]:8080` to an address and a port. Raises ValueError."""
    host, colon, port = word.rpartition(":")
    host = host if colon and host else "0.0.0.0"  # noqa: S104 (of the container's own network)
    is_port = bool(_NUMBER.fullmatch(port)) and int(port) < 1 << 16
    family, plain = (socket.AF_INET6, host[1:-1]) if host.startswith("[") else (socket.AF_INET, host)
    try:
        socket.inet_pton(family, plain)
    except (OSError, ValueError):
        is_port = False
    if not is_port or (family == socket.AF_INET6 and not host.endswith("]")):
        raise ValueError(f"{word!r} is not an address and port, such as 8080, 127.0.0.1:8080 or [::]:8080")
    return f"{host}:{port}"


def _scale_to_zero(policy: Policy, word: str) -> Policy:
    """Replace the time. This does not restrict the guest."""
    if word == OFF:
        return replace(policy, scale_to_zero=None)
    return replace(policy, scale_to_zero=_shorter(None, word))


def _http_log(policy: Policy, word: str) -> Policy:
    if word not in ("plain", PREFIXED):
        raise ValueError(f"{word!r} is neither 'plain' nor {PREFIXED!r}")
    return replace(policy, http_prefixes=word == PREFIXED)


def _fuel(policy: Policy, word: str) -> Policy:
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is not a whole number above 0")
    fuel = int(word)
    return replace(policy, fuel=min(fuel, fuel if policy.fuel is None else policy.fuel))


def _seccomp(policy: Policy, word: str) -> Policy:
    if word not in SECCOMP:
        raise ValueError(f"{word!r} is none of {', '.join(SECCOMP)}")
    return replace(policy, seccomp=max(word, policy.seccomp, key=SECCOMP.index))


WORDS: Mapping[str, Callable[[Policy, str], Policy]] = {
    "dirs": _dirs,
    "env": _env,
    "network": _network,
    "stdin": lambda policy, word: replace(policy, stdin=_only_none(word)),
    "deadline": _deadline,
    "fuel": _fuel,
    "seccomp": _seccomp,
    "http-address": _http_address,
    "http-log": _http_log,
    "http-timeout": _http_timeout,
    "scale-to-zero": _scale_to_zero,
}
"""The words: each function returns the restricted policy. Raises ValueError or InvalidArgument."""
