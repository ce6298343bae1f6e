"""The errors that reach a client, each with its ttrpc code.

Lean on purpose (no enum, no dataclass): the `start` path imports this module.
Messages are lower case, without a full stop, and name the object and its state.
"""


class Code:
    """Status codes of ttrpc, which are gRPC's (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


_REASON = " [PLG-"


class PelagosError(Exception):
    """Base of every error that pelagos raises on purpose; always a subclass is raised.

    reason: of `reasons`, or empty. It is at the end of the text, and is found there again: an
    error that is made of another one's text has its reason, on the other side of a socket too.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str = "", reason: str = "") -> None:
        text, mark, name = message.rpartition(_REASON)
        if mark and name.endswith("]"):
            message, reason = text, _REASON[2:] + name[:-1]
        super().__init__(message)
        self.reason = reason

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} [{self.reason}]" if self.reason else text


class Cancelled(PelagosError):
    """The operation was ended by another one, such as a Kill during Create."""

    code = Code.CANCELLED


class InvalidArgument(PelagosError):
    """What was asked can never work: a malformed bundle, id, module or frame."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(PelagosError):
    """It took longer than the caller, or our own limit, allows."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(PelagosError):
    """A container, process, file or backend that is not there."""

    code = Code.NOT_FOUND


class AlreadyExists(PelagosError):
    """An id or a file that is taken."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(PelagosError):
    """The host or a policy forbids it."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(PelagosError):
    """A limit of ours was passed: a frame's size, a connection's requests."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(PelagosError):
    """The object is there but in the wrong state for this."""

    code = Code.FAILED_PRECONDITION


class Unimplemented(PelagosError):
    """A method or an option that pelagos does not have."""

    code = Code.UNIMPLEMENTED


class Internal(PelagosError):
    """The host or pelagos itself failed; the message says where."""

    code = Code.INTERNAL


class Unavailable(PelagosError):
    """The peer is not there or went away."""

    code = Code.UNAVAILABLE


_BY_CODE = {
    cls.code: cls
    for cls in (
        Cancelled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Unimplemented,
        Internal,
        Unavailable,
    )
}

# OSErrors that say something about the request rather than about the host.
_BY_OSERROR = (
    (FileNotFoundError, Code.NOT_FOUND),
    (FileExistsError, Code.ALREADY_EXISTS),
    (PermissionError, Code.PERMISSION_DENIED),
    (IsADirectoryError, Code.INVALID_ARGUMENT),
    (NotADirectoryError, Code.INVALID_ARGUMENT),
    (TimeoutError, Code.DEADLINE_EXCEEDED),
)


def to_status(error: BaseException) -> "tuple[int, str]":
    """Turn any exception into a ttrpc status: (code, message).

    An exception that is neither ours nor an OSError is a bug; its message names
    its type so that a report is of use. The message can be encoded: a file name that is
    not UTF-8 has lone surrogates, and protobuf refuses them.
    """
    text = str(error) if isinstance(error, PelagosError | OSError) else f"{type(error).__name__}: {error}"
    return _code_of(error), text.encode("utf-8", "replace").decode()


def _code_of(error: BaseException) -> int:
    if isinstance(error, PelagosError):
        return error.code
    return next((code for kind, code in _BY_OSERROR if isinstance(error, kind)), Code.INTERNAL)


def from_status(code: int, message: str, reason: str = "") -> PelagosError:
    """The inverse of `to_status`: an exception for a status that is not OK.

    A code that has no class of its own becomes `Internal`.
    """
    return _BY_CODE.get(code, Internal)(message, reason)
