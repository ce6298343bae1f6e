"""What a Wasm guest may use: all that its container has, and from there on only less.

The node's config, the runtime options, the pod's and the container's annotations narrow it one
after the other, in the same words. No word widens: an annotation may come from an image's author. Two of them, of
a guest that handles HTTP requests, choose what takes nothing away and gives nothing.

    dirs = "/data:ro,/tmp"    of the container's files only these, or "none"
    env = "HOME,LANG"         of its variables only these, or "none"
    network = "none"          no network; "outbound": it connects, and listens nowhere
    stdin = "none"            no input
    deadline = "1h30m"        the longest time from its start to its end
    fuel = "1000000"          units of execution, in the engine's own measure
    http-timeout = "30s"      the longest time of one request, for a guest that handles them
    http-address = "8080"     where it takes them, in the network of its container: the last word counts
    scale-to-zero = "5m"      its engine runs while there are requests, and ends when none has come for so long
    http-log = "prefixed"     each line of its output names the instance; "plain" takes that back
    seccomp = "engine"        system calls: at least the spec's profile (spec), or also an engine's
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
"""Where a guest that handles HTTP requests is served, if nothing else is said: in its container's own network."""

PREFIXED = "prefixed"
OFF = "off"
SECCOMP = ("off", "spec", "engine")
"""What is done about system calls, from the least to the most, which is what a node does by itself."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_VARIABLE = re.compile(r"[^=,\s]+")


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the container that its guest keeps."""

    path: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a guest may use.

    directories: each tuple leaves just these of what the tuples before have left.
    env: names of variables; None for all. network, stdin: whether it may use them.
    listens: whether it may bind and listen, where it has a network.
    host_network: whether the host's network counts as one. It is no word: the node's config alone has it.
    deadline: seconds; None for no end. fuel: None for no limit. seccomp: one of SECCOMP.
    http_timeout: seconds for one request; None for no end. http_address: where requests are taken, as
        `ADDRESS:PORT`; empty if no word says so. http_prefixes: whether each line of output names its request.
    scale_to_zero: seconds without a request after which an engine that serves ends; None: it runs all the time.
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
        """Whether an engine has the system calls of its own profile only."""
        return self.seccomp == SECCOMP[-1]

    def narrowed(
        self, words: Mapping[str, str], called: Callable[[str], str], others: frozenset[str] = frozenset()
    ) -> Policy:
        """The same with less, as the words say.

        called: what errors call a word. others: words that mean something elsewhere.
        Raises InvalidArgument that names the word: an unknown one is not ignored, since its
        author relies on it.
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
        """Those of the `NAME=VALUE` strings that the guest may see."""
        if self.env is None:
            return env
        return tuple(variable for variable in env if variable.partition("=")[0] in self.env)


EVERYTHING = Policy()
"""What a guest may use where nothing narrows it."""


def _dirs(policy: Policy, word: str) -> Policy:
    found = () if word == NONE else tuple(_directory(item) for item in word.split(","))
    paths = [directory.path for directory in found]
    if doubled := next((path for path in paths if paths.count(path) > 1), ""):
        raise ValueError(f"{doubled!r} is there twice")
    return replace(policy, directories=(*policy.directories, tuple(sorted(found, key=lambda each: each.path))))


def _directory(item: str) -> Directory:
    path = item.removesuffix(":ro")
    if not path.startswith("/") or ".." in path.split("/") or ":" in path:
        raise ValueError(f"{item!r} is not an absolute path, or one with ':ro'")
    # POSIX leaves the meaning of two leading slashes open, and normpath keeps them.
    return Directory(posixpath.normpath(f"/{path.lstrip('/')}"), path != item)


def _env(policy: Policy, word: str) -> Policy:
    names = frozenset() if word == NONE else frozenset(word.split(","))
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not a variable's name")
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
        raise ValueError(f"{word!r} is not {known}: no engine here can hold a guest to a list of addresses")
    raise ValueError(f"{word!r} is not {known}")


def _deadline(policy: Policy, word: str) -> Policy:
    return replace(policy, deadline=_shorter(policy.deadline, word))


def _http_timeout(policy: Policy, word: str) -> Policy:
    return replace(policy, http_timeout=_shorter(policy.http_timeout, word))


def _shorter(before: float | None, word: str) -> float:
    seconds = duration.parse(word)
    if not seconds:
        raise ValueError(f"{word!r} is no time at all")
    return seconds if before is None else min(seconds, before)


def _http_address(policy: Policy, word: str) -> Policy:
    """Not less, but another: what can listen there is decided by the container's network and user."""
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
        raise ValueError(f"{word!r} is no address and port, such as 8080, 127.0.0.1:8080 or [::]:8080")
    return f"{host}:{port}"


def _scale_to_zero(policy: Policy, word: str) -> Policy:
    """Not less, but at other times: the last word counts."""
    if word == OFF:
        return replace(policy, scale_to_zero=None)
    return replace(policy, scale_to_zero=_shorter(None, word))


def _http_log(policy: Policy, word: str) -> Policy:
    if word not in ("plain", PREFIXED):
        raise ValueError(f"{word!r} is neither 'plain' nor {PREFIXED!r}")
    return replace(policy, http_prefixes=word == PREFIXED)


def _fuel(policy: Policy, word: str) -> Policy:
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is not a whole number over 0")
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
"""Every word, and what it does to a policy. Raises ValueError or InvalidArgument."""
