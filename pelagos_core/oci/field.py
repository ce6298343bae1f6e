"""A value of untrusted JSON with its path, for error messages."""

from __future__ import annotations

import functools
import json
import marshal
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn, TypeVar

from pelagos_core.errors import InvalidArgument

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
_Step = str | int | tuple[str]
_KEPT = 64  # results of one reader
_KEPT_BYTES = 32 << 10  # of a value; a usual seccomp profile has 12 KiB
_MARSHAL_VERSION = 2  # the last one that encodes equal values as equal bytes


class Field:
    """One value. It is true if the text contains it; an absent value, or null, is read as empty.

    Every reader raises InvalidArgument with the path for a value of the wrong type. A spec has hundreds of values, so a
    field has a reference to its parent, and builds its path only for an error.
    """

    __slots__ = ("_parent", "_step", "_value")

    def __init__(self, step: _Step, value: Any, parent: Field | None = None) -> None:  # noqa: ANN401 (JSON is any of six types)
        """step: from the parent to this field: a name of the spec, the index of an item, or a name from the text, in a
        tuple. For a field without a parent it is the whole path.
        """
        self._step = step
        self._value = value
        self._parent = parent

    @classmethod
    def parse(cls, name: str, data: bytes) -> Field:
        """Parse a JSON text. name: of the text, for errors. Raises InvalidArgument if it is not JSON."""
        try:
            return cls(name, json.loads(data))
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"{name}: not JSON: {error}") from None

    def __bool__(self) -> bool:
        return self._value is not None

    @property
    def _path(self) -> str:
        step = self._step
        if self._parent is None:
            return str(step)
        path = self._parent._path
        if isinstance(step, str):
            return f"{path}{'.' if ': ' in path else ': '}{step}"
        return f"{path}[{step if isinstance(step, int) else repr(step[0])}]"

    def get(self, key: str) -> Field:
        """A member of an object. An absent member is a field whose value is None."""
        value = self._value
        if value is None:
            return Field(key, None, self)
        if type(value) is not dict:
            self.refuse("not an object")
        return Field(key, value.get(key), self)

    def only(self, *keys: str) -> Field:
        """Check that an object has no members but `keys`. Returns this field. Raises InvalidArgument."""
        if self._value is not None:
            members = self._checked(dict, "an object", default={})
            unknown = members.keys() - set(keys)
            for key, value in members.items() if unknown else ():
                if key in unknown and value is not None:
                    Field((key,), value, self).refuse("not supported")
        return self

    def refuse(self, why: str) -> NoReturn:
        """Raise InvalidArgument with the value's path."""
        raise InvalidArgument(f"{self._path}: {why}")

    def distinct(self, names: Collection[str]) -> None:
        """Raise InvalidArgument if `names`, read from this list, contains a name more than once."""
        if len(set(names)) < len(names):
            repeated = next(name for name, count in Counter(names).items() if count > 1)
            self.refuse(f"{repeated} is repeated")

    def _checked(self, kind: type[T], name: str, default: T) -> T:
        if self._value is None:
            return default
        # In Python a bool is an int, but `true` is not a valid uid.
        if not isinstance(self._value, kind) or (kind is int and isinstance(self._value, bool)):
            self.refuse(f"not {name}")
        return self._value

    def text(self, default: str = "") -> str:
        """A string that can be passed to the kernel: without a NUL byte and lone surrogates."""
        value = self._value
        if type(value) is str and value.isascii() and "\0" not in value:
            return value  # the usual case
        value = self._checked(str, "a string", default)
        if "\0" in value:
            self.refuse("holds a NUL byte")
        if _SURROGATE.search(value):
            self.refuse("holds a lone surrogate")
        return value

    def flag(self) -> bool:
        """A boolean; false if it is absent."""
        return self._checked(bool, "true or false", default=False)

    def choice(self, choices: Iterable[str]) -> str:
        """One of some words; empty if it is absent."""
        value = self.text()
        if value and value not in choices:
            self.refuse(f"{value!r} is unknown")
        return value

    def number(self, limit: int, least: int = 0) -> int:
        """An integer from `least` to `limit`; 0 if it is absent."""
        value = self._checked(int, "an integer", default=0)
        if not least <= value <= limit:
            self.refuse(f"{value} is not between {least} and {limit}")
        return value

    def each(self, read: Callable[[Field], T]) -> tuple[T, ...]:
        """A list: the results of `read` for its items; empty if it is absent."""
        if self._value is None:
            return ()
        items = self._checked(list, "a list", default=[])
        return tuple([read(Field(i, item, self)) for i, item in enumerate(items)])

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        if self._value is None:
            return ()
        items = self._checked(list, "a list", default=[])
        return tuple(items) if _are_texts(items) else self.each(Field.text)

    def members(self) -> tuple[tuple[str, Field], ...]:
        """The members of an object, with their names."""
        members = self._checked(dict, "an object", default={})
        return tuple([(key, Field((key,), item, self)) for key, item in members.items()])

    def table(self) -> dict[str, str]:
        """An object whose values are strings."""
        members = self._checked(dict, "an object", default={})
        return dict(members) if _are_texts(members.values()) else {key: item.text() for key, item in self.members()}


def kept(read: Callable[[Field], T]) -> Callable[[Field], T]:
    """Decorate a reader: cache its results by the content of the values, for later containers with equal values.

    For values that containers have in common. Not for arguments and variables of a process, which may be secret.
    """
    results: dict[bytes, T] = {}

    @functools.wraps(read)
    def read_or_kept(field: Field) -> T:
        try:
            content = marshal.dumps(field._value, _MARSHAL_VERSION)
        except ValueError:  # nested too deeply
            return read(field)
        if content in results:
            return results[content]
        result = read(field)
        if len(content) <= _KEPT_BYTES:
            if len(results) >= _KEPT:
                results.clear()
            results[content] = result
        return result

    return read_or_kept


def _are_texts(values: Iterable[object]) -> bool:
    """Whether `Field.text` accepts each value. A quick check of all: a seccomp profile has hundreds."""
    try:
        joined = "".join(values)  # type: ignore[arg-type]  # raises TypeError if one is not a string
    except TypeError:
        return False
    return "\0" not in joined and (joined.isascii() or not _SURROGATE.search(joined))
