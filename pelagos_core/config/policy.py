"""What a Wasm guest may use: all that its container has, and from there on only less.

The node's config, the runtime options, the pod's and the container's annotations narrow it one
after the other, in the same words. No word widens: an annotation may come from an image's author.

    dirs = "/data:ro,/tmp"    of the container's files only these, or "none"
    env = "HOME,LANG"         of its variables only these, or "none"
    network = "none"          no network; "outbound": it connects, and listens nowhere
    stdin = "none"            no input
    deadline = "1h30m"        the longest time from its start to its end
    fuel = "1000000"          units of execution, in the engine's own measure
    seccomp = "engine"        system calls: at least the spec's profile (spec), or also an engine's
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pelagos_core.config import duration
from pelagos_core.errors import InvalidArgument

NONE, OUTBOUND = "none", "outbound"
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
    seconds = duration.parse(word)
    if not seconds:
        raise ValueError(f"{word!r} is no time at all")
    return replace(policy, deadline=min(seconds, seconds if policy.deadline is None else policy.deadline))


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
}
"""Every word, and what it does to a policy. Raises ValueError or InvalidArgument."""
