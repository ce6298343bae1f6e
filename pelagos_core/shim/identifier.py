"""Identifiers of containers and namespaces by containerd's definition. Lean: no re."""

from pelagos_core.errors import InvalidArgument

MAX_LENGTH = 76

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SEPARATORS = frozenset("._-")


def check_id(value: str, what: str = "container id") -> str:
    """Return `value` if it is an identifier: letters and digits, joined by single `.`, `_` or `-`.

    Raises InvalidArgument otherwise (containerd, identifiers package). A path separator,
    `..` or a NUL never passes, so an identifier is safe as a file name.
    """
    if len(value) > MAX_LENGTH:
        raise InvalidArgument(f"{what} {value[:20]!r}…: {len(value)} characters, over {MAX_LENGTH}")
    joined = True  # the start counts as a separator: the first character must be a letter or digit
    for character in value:
        if character not in _ALNUM and (joined or character not in _SEPARATORS):
            break
        joined = character in _SEPARATORS
    else:
        if value and not joined:
            return value
    raise InvalidArgument(f"{what} {value!r}: not letters and digits joined by '.', '_' or '-'")
