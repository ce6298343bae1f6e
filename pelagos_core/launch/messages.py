"""The messages of an init process to the daemon: one datagram each, most of them before the guest runs.

    SecondStage -> GO -> Asking -> Created -> GO
                                -> Learnt
                                -> Wanted -> CODE
                                -> Unusable
                                -> Failed

A process without an interpreter sends these, and receives parts of its plan in between (`bare_init`):

    Found -> plan -> Ready -> GO
          -> plan -> Contents -> plan -> Ready -> GO
    Stopped, at any time before GO

GO and CODE are the daemon's answers. SecondStage is sent by the first process of a container with a user
namespace, see `isolation.second_stage`. With hooks, Assembled and GO are exchanged between Asking "detect" and
"spawn". Wanted carries a descriptor of the entry point, CODE one of the code's directory. Learnt is sent once,
before Asking "spawn", if it was requested. Terminal carries its master and may be sent before Asking. Refused
may be sent once after the last GO. A server sends Listening or Failed after the last GO. `conversation` is the
daemon's half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from pelagos_core import reasons
from pelagos_core.cache.known_module import KnownModule
from pelagos_core.errors import Internal

MAX_BYTES = 64 << 10
MAX_TEXT = 4 << 10  # characters; each has at most 6 bytes in JSON
_MAX_NUMBER = 2**64
GO = b"go"
CODE = b"code"


@dataclass(frozen=True, slots=True)
class Asking:
    """A hook of this backend is called next: `detect` or `spawn`."""

    backend: str
    hook: str


@dataclass(frozen=True, slots=True)
class SecondStage:
    """The process of this pid, in the daemon's pid namespace, replaces the sender, which exits."""

    pid: int


@dataclass(frozen=True, slots=True)
class Assembled:
    """The root is assembled but not entered: the daemon must run the createRuntime hooks now."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for compiled code; it carries a descriptor of the entry point.

    path: for messages. digest: of its bytes. settings: the backend's part of the key.
    """

    backend: str
    path: str
    digest: str
    settings: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """The record of the entry point. digest: of its bytes, computed by the sender."""

    digest: str
    known: KnownModule


@dataclass(frozen=True, slots=True)
class Unusable:
    """The backend does not accept the stored code; the message has the reason."""

    backend: str
    message: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of the container's devpts is used; the message carries a descriptor of its master."""


@dataclass(frozen=True, slots=True)
class Created:
    """The workload is loaded and waits for Start.

    enclosed: whether the container's root is inside an engine root. serves: whether Listening or Failed follows Start.
    """

    backend: str
    reason: str
    enclosed: bool
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The launch has failed: the fields of a PelagosError, see `errors.to_fields`."""

    code: int
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A process without an interpreter has found the entry point; the message carries its descriptor.

    index: in the list of paths. mode: of the file, from fstat(2). head: its first bytes, in hex.
    digest: sha256 of all bytes of a module; empty for anything else, and for a module that is too large.
    """

    index: int
    mode: int
    head: str
    digest: str


@dataclass(frozen=True, slots=True)
class Contents:
    """A copy in memory of a requested file of the container; the message carries its descriptor."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A process without an interpreter waits for Start."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A process without an interpreter has failed at a step of its plan.

    plan: index of the part. step: index of the instruction. error: an errno. stage: its number in the library.
    detail: what the plan does not contain, such as the engine's error text.
    """

    plan: int
    step: int
    error: int
    stage: int
    detail: str


@dataclass(frozen=True, slots=True)
class Listening:
    """The started server accepts connections."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Memory was refused to the running guest: bytes requested, and the container's limit."""

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
    | Listening
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
    Created: [str, str, bool, bool],
    Failed: [int, str, str],
    Found: [int, int, str, str],
    Contents: [],
    Ready: [],
    Stopped: [int, int, int, int, str],
    Listening: [],
    Refused: [int, int],
}
_KINDS = {cls.__name__: cls for cls in _FIELDS}


def encode(message: Message) -> bytes:
    """Encode a message as one datagram; a long text is truncated."""
    fields = [_plain(getattr(message, name)) for name in message.__slots__]
    return json.dumps([type(message).__name__, *fields], ensure_ascii=False).encode("utf-8", "replace")


def _plain(field: object) -> object:
    if isinstance(field, KnownModule):
        return field.fields()  # limited in size by `known_module`
    return field[:MAX_TEXT] if isinstance(field, str) else field


def decode(datagram: bytes) -> Message:
    """Decode a datagram. Raises Internal: the sender has run a plugin, so it is not trusted."""
    try:
        name, *fields = json.loads(datagram.decode("utf-8", "replace"))  # a path or an engine's text may not be UTF-8
        message = _KINDS[name](*fields)
        if [type(field) for field in fields] != _FIELDS[type(message)]:
            raise TypeError
        if not all(abs(field) <= _MAX_NUMBER for field in fields if isinstance(field, int)):
            raise ValueError  # out of range for a pid, code or size: Python's integers are unbounded
        if isinstance(message, Failed) and message.reason not in reasons.ALL:
            message = replace(message, reason="")  # not a reason code of pelagos
        if isinstance(message, Learnt):
            message = replace(message, known=KnownModule.of(message.known))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Internal("the init process sent a malformed message") from None
    return message
