"""A value of untrusted JSON together with its path, so that an error can name it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn, TypeVar

from pelagos_core.errors import InvalidArgument

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")


class Field:
    """One value. It is true if the text has it; what is absent, or null, reads as empty.

    Every reader raises InvalidArgument with the path for a value of the wrong kind.
    """

    __slots__ = ("_path", "_value")

    def __init__(self, path: str, value: Any) -> None:  # noqa: ANN401 (JSON is any of six types)
        self._path = path
        self._value = value

    @classmethod
    def parse(cls, name: str, data: bytes) -> Field:
        """The value of a JSON text. Raises InvalidArgument that names it if it is none."""
        try:
            return cls(name, json.loads(data))
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"{name}: not JSON: {error}") from None

    def __bool__(self) -> bool:
        return self._value is not None

    def get(self, key: str) -> Field:
        """A member of an object; absent members are fields whose value is None."""
        separator = "." if ": " in self._path else ": "
        members = self._checked(dict, "an object", default={})
        return Field(f"{self._path}{separator}{key}", members.get(key))

    def only(self, *keys: str) -> Field:
        """The object itself. Raises InvalidArgument that names a member which is none of `keys`."""
        members = self._checked(dict, "an object", default={})
        unknown = (key for key, value in members.items() if key not in keys and value is not None)
        for key in unknown:
            Field(f"{self._path}[{key!r}]", members[key]).refuse("not supported")
        return self

    def refuse(self, why: str) -> NoReturn:
        """Raise InvalidArgument with the value's path."""
        raise InvalidArgument(f"{self._path}: {why}")

    def distinct(self, names: Collection[str]) -> None:
        """Raise InvalidArgument if one of the names that were read off this list stands twice."""
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            self.refuse(f"{twice} is there twice")

    def _checked(self, kind: type[T], name: str, default: T) -> T:
        if self._value is None:
            return default
        # bool is an int to Python, but `true` is not a uid.
        if not isinstance(self._value, kind) or (kind is int and isinstance(self._value, bool)):
            self.refuse(f"not {name}")
        return self._value

    def text(self, default: str = "") -> str:
        """A string that the kernel can be given."""
        value = self._checked(str, "a string", default)
        if "\0" in value:
            self.refuse("holds a NUL byte")
        try:
            value.encode()
        except UnicodeEncodeError:
            self.refuse("holds a lone surrogate")
        return value

    def flag(self) -> bool:
        """True or false; false if it is absent."""
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
        """A list, read item by item."""
        items = self._checked(list, "a list", default=[])
        return tuple(read(Field(f"{self._path}[{i}]", item)) for i, item in enumerate(items))

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        items = self._checked(list, "a list", default=[])
        # A profile of seccomp has hundreds: a field for each is made only to name the bad one.
        if all(type(item) is str for item in items):
            joined = "\n".join(items)
            if "\0" not in joined and not _SURROGATE.search(joined):
                return tuple(items)
        return self.each(Field.text)

    def members(self) -> tuple[tuple[str, Field], ...]:
        """The members of an object, with their names."""
        members = self._checked(dict, "an object", default={})
        return tuple((key, Field(f"{self._path}[{key!r}]", item)) for key, item in members.items())

    def table(self) -> dict[str, str]:
        """An object whose values are strings."""
        return {key: item.text() for key, item in self.members()}
