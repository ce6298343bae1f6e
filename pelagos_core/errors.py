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
    """Base class of all errors that pelagos raises on purpose. It is never raised itself.

    message: what failed and why.
    reason: one of `reasons`, or empty.
    `str` returns both, as `with_reason` does. An error that is made from the `message` of another error must
    also get its `reason`.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = str(message)  # a backend may give it an exception
        self.reason = reason

    def __str__(self) -> str:
        return with_reason(self.message, self.reason)


class Cancelled(PelagosError):
    """Another operation has interrupted this one, such as a Kill during Create."""

    code = Code.CANCELLED


class InvalidArgument(PelagosError):
    """The request can never succeed: a malformed bundle, id, module or frame."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(PelagosError):
    """The operation took longer than the caller or a limit of pelagos allows."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(PelagosError):
    """A container, process, file or backend does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(PelagosError):
    """An id is in use, or a file exists already."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(PelagosError):
    """The host or a policy forbids the operation."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(PelagosError):
    """A limit is exceeded, such as the size of a frame or the requests of a connection."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(PelagosError):
    """The object exists, but its state does not allow the operation."""

    code = Code.FAILED_PRECONDITION


class Unimplemented(PelagosError):
    """pelagos does not have this method or option."""

    code = Code.UNIMPLEMENTED


class Internal(PelagosError):
    """The host or pelagos itself has failed; the message says where."""

    code = Code.INTERNAL


class Unavailable(PelagosError):
    """The peer cannot be reached, or has closed the connection."""

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

# OSErrors that are caused by the request rather than by the host.
_BY_OSERROR = (
    (FileNotFoundError, Code.NOT_FOUND),
    (FileExistsError, Code.ALREADY_EXISTS),
    (PermissionError, Code.PERMISSION_DENIED),
    (IsADirectoryError, Code.INVALID_ARGUMENT),
    (NotADirectoryError, Code.INVALID_ARGUMENT),
    (TimeoutError, Code.DEADLINE_EXCEEDED),
)


def code_of(error: BaseException) -> int:
    """The status code for any exception; INTERNAL for an unexpected one."""
    if isinstance(error, PelagosError):
        return error.code
    return next((code for kind, code in _BY_OSERROR if isinstance(error, kind)), Code.INTERNAL)


def to_fields(error: BaseException) -> "tuple[int, str, str]":
    """Convert any exception to the fields that processes of pelagos send to each other: (code, message, reason).

    An exception that is neither a PelagosError nor an OSError is a bug; its message contains the type's name,
    for reports. The message can always be encoded as UTF-8: a file name that is not UTF-8 contains lone
    surrogates, which protobuf refuses.
    """
    if isinstance(error, PelagosError):
        message, reason = error.message, error.reason
    else:
        message, reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}", ""
    return code_of(error), message.encode("utf-8", "replace").decode(), reason


def from_fields(code: int, message: str, reason: str = "") -> PelagosError:
    """The inverse of `to_fields`, for a code that is not OK. A code without a class becomes `Internal`."""
    return _BY_CODE.get(code, Internal)(message, reason)


def with_reason(message: str, reason: str) -> str:
    """The text for users and clients: the message, followed by the reason in brackets."""
    return f"{message} [{reason}]" if reason else message


def to_status(error: BaseException) -> "tuple[int, str]":
    """Convert any exception to a ttrpc status: (code, text). The protocol has no field for the reason."""
    code, message, reason = to_fields(error)
    return code, with_reason(message, reason)


def from_status(code: int, text: str) -> PelagosError:
    """The inverse of `to_status`, used only in ttrpc clients.

    A status has a code and a text (google.rpc.Status), and containerd forwards both unchanged. So this is the
    only place where the reason is parsed from a text: from the end of a text that `to_status` has returned.
    """
    message, mark, rest = text.rpartition(" [PLG-")
    if mark and rest.endswith("]"):
        return from_fields(code, message, f"PLG-{rest[:-1]}")
    return from_fields(code, text)
