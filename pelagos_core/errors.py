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


class PelagosError(Exception):
    """Base of every error that pelagos raises on purpose; always a subclass is raised.

    message: what failed and why. reason: of `reasons`, or empty. `str` has both, as `with_reason` does;
    an error that is made of another one's `message` is given its `reason` too.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = str(message)  # a backend may give it an exception
        self.reason = reason

    def __str__(self) -> str:
        return with_reason(self.message, self.reason)


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


def code_of(error: BaseException) -> int:
    """The code of any exception; INTERNAL for a bug."""
    if isinstance(error, PelagosError):
        return error.code
    return next((code for kind, code in _BY_OSERROR if isinstance(error, kind)), Code.INTERNAL)


def to_fields(error: BaseException) -> "tuple[int, str, str]":
    """Turn any exception into what our own processes send each other: (code, message, reason).

    An exception that is neither ours nor an OSError is a bug; its message names
    its type so that a report is of use. The message can be encoded: a file name that is
    not UTF-8 has lone surrogates, and protobuf refuses them.
    """
    if isinstance(error, PelagosError):
        message, reason = error.message, error.reason
    else:
        message, reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}", ""
    return code_of(error), message.encode("utf-8", "replace").decode(), reason


def from_fields(code: int, message: str, reason: str = "") -> PelagosError:
    """The inverse of `to_fields`, for a code that is not OK.

    A code that has no class of its own becomes `Internal`.
    """
    return _BY_CODE.get(code, Internal)(message, reason)


def with_reason(message: str, reason: str) -> str:
    """The text for a person or a client: the message, and at its end, in brackets, the reason."""
    return f"{message} [{reason}]" if reason else message


def to_status(error: BaseException) -> "tuple[int, str]":
    """Turn any exception into a ttrpc status: (code, text). The protocol has no field for the reason."""
    code, message, reason = to_fields(error)
    return code, with_reason(message, reason)


def from_status(code: int, text: str) -> PelagosError:
    """The inverse of `to_status`, for the client's end of ttrpc only.

    A status has a code and a text (google.rpc.Status), and containerd passes both on as they are. So
    this is the one place where a reason is read off a text: from the end of one that `to_status` has made.
    """
    message, mark, rest = text.rpartition(" [PLG-")
    if mark and rest.endswith("]"):
        return from_fields(code, message, f"PLG-{rest[:-1]}")
    return from_fields(code, text)
