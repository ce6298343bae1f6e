"""Identifiers of containers and namespaces, as containerd defines them. Lean: no re."""

from pelagos_core.errors import InvalidArgument

MAX_LENGTH = 76

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SEPARATORS = frozenset("._-")


def check_id(value: str, what: str = "container id") -> str:
    """Return `value` if it is an identifier: letters and digits, joined by single `.`, `_` or `-`.

    Raises InvalidArgument for any other value. An identifier has no path separator, `..` or NUL, so it is safe as a
    file name. Source: containerd's package `identifiers`.
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
