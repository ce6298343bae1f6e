"""The messages of an init process to the daemon: one datagram each, nearly all before it runs the guest.

    SecondStage -> GO -> Asking -> Created -> GO
                                -> Learnt
                                -> Wanted -> CODE
                                -> Unusable
                                -> Failed

A process without an interpreter says less, and is sent the rest of its plan in between (`bare_init`):

    Found -> plan -> Ready -> GO
          -> plan -> Contents -> plan -> Ready -> GO
    Stopped, at any time before GO

GO and CODE are the daemon's answers. SecondStage comes from a first process, for a container with a user
namespace; see `isolation.second_stage`. With hooks, Assembled and GO come between Asking "detect" and "spawn".
With Wanted comes a descriptor of the entry point, with CODE one of the code's directory. Learnt comes once,
before Asking "spawn", if it was asked for. Terminal, with its master, may come before Asking, Refused once
after the last GO. `conversation` is the daemon's half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from pelagos_core import reasons
from pelagos_core.cache.known_module import KnownModule
from pelagos_core.errors import Internal

MAX_BYTES = 64 << 10
MAX_TEXT = 4 << 10  # characters; in JSON each is 6 bytes at the most
_MAX_NUMBER = 2**64
GO = b"go"
CODE = b"code"


@dataclass(frozen=True, slots=True)
class Asking:
    """The backend of this name is about to be called: `detect` or `spawn`."""

    backend: str
    hook: str


@dataclass(frozen=True, slots=True)
class SecondStage:
    """The process of this id, in the daemon's pid namespace, takes the place of the sender, which exits."""

    pid: int


@dataclass(frozen=True, slots=True)
class Assembled:
    """The root is assembled but not entered: the daemon is to run its hooks now."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Compiled code for the entry point, of which this comes with a descriptor.

    path: for messages. digest: of its bytes. settings: the backend's part of the key.
    """

    backend: str
    path: str
    digest: str
    settings: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is to be kept of the entry point. digest: of its bytes, as the sender has found it."""

    digest: str
    known: KnownModule


@dataclass(frozen=True, slots=True)
class Unusable:
    """The backend does not take the code that it was given; the message says why."""

    backend: str
    message: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of the container's own is used; its master comes along with the message."""


@dataclass(frozen=True, slots=True)
class Created:
    """The workload is ready and waits for the go-ahead.

    enclosed: whether the container's root is below an engine root.
    """

    backend: str
    reason: str
    enclosed: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not run: the fields of a PelagosError, see `errors.to_fields`."""

    code: int
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The entry point is found by a process without an interpreter; its descriptor comes along.

    index: of the paths that were to be looked at. mode: of the file, as of stat(2). head: its first bytes, in hex.
    digest: sha256 of all of a module's bytes; empty for anything else, and a module that is too large.
    """

    index: int
    mode: int
    head: str
    digest: str


@dataclass(frozen=True, slots=True)
class Contents:
    """A copy, in memory, of a file of the container that the daemon has asked for; it comes along."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A process without an interpreter waits for the go-ahead."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A process without an interpreter has failed at a step of its plan.

    plan: 0 for its first part. step: the place of the instruction. error: an errno. stage: its number in the library.
    detail: what the step does not know, such as the engine's words.
    """

    plan: int
    step: int
    error: int
    stage: int
    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The guest, which runs, was refused memory: bytes it asked for, and its container's limit."""

    asked: int
    limit: int


Message = (
    Asking
    | Assembled
    | SecondStage
    | Terminal
    | Learnt
    | Wanted
    | Unusable
    | Created
    | Failed
    | Found
    | Contents
    | Ready
    | Stopped
    | Refused
)
_FIELDS: dict[type[Message], list[type]] = {
    Asking: [str, str],
    Assembled: [],
    SecondStage: [int],
    Terminal: [],
    Learnt: [str, dict],
    Wanted: [str, str, str, str],
    Unusable: [str, str],
    Created: [str, str, bool],
    Failed: [int, str, str],
    Found: [int, int, str, str],
    Contents: [],
    Ready: [],
    Stopped: [int, int, int, int, str],
    Refused: [int, int],
}
_KINDS = {cls.__name__: cls for cls in _FIELDS}


def encode(message: Message) -> bytes:
    """The message as one datagram; a long text is cut."""
    fields = [_plain(getattr(message, name)) for name in message.__slots__]
    return json.dumps([type(message).__name__, *fields], ensure_ascii=False).encode("utf-8", "replace")


def _plain(field: object) -> object:
    if isinstance(field, KnownModule):
        return field.fields()  # which is as small as it must be, or was not learnt
    return field[:MAX_TEXT] if isinstance(field, str) else field


def decode(datagram: bytes) -> Message:
    """The inverse. Raises Internal: the sender had run a plugin, so it is not trusted."""
    try:
        name, *fields = json.loads(datagram.decode("utf-8", "replace"))  # a path or an engine's text may be no UTF-8
        message = _KINDS[name](*fields)
        if [type(field) for field in fields] != _FIELDS[type(message)]:
            raise TypeError
        if not all(abs(field) <= _MAX_NUMBER for field in fields if isinstance(field, int)):
            raise ValueError  # no pid, code or size; Python's own numbers have no end
        if isinstance(message, Failed) and message.reason not in reasons.ALL:
            message = replace(message, reason="")  # a backend's own word
        if isinstance(message, Learnt):
            message = replace(message, known=KnownModule.of(message.known))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Internal("the init process sent a malformed message") from None
    return message
