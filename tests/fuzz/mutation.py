"""Damage to valid input: bytes and JSON, from a seeded generator."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

# Of any type at any place. No path of the machine's: what is accepted is done, as root.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, 2**64, -(2**63), 1.5, 1e308),
    *("", " ", ".", "..", "../..", "a", "a/b", "a\0b", "\udc80", "é", "x" * 5000, "%s%n", "-1", "nan"),
    *([], {}, [[]], [{}], [None], {"": ""}, {"a": {"a": {"a": {}}}}, ["a"] * 300),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with one to four mistakes in them."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(result) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            result[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 1:
            del result[at : at + rng.randint(1, 8)]
        elif kind == 2:
            result[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))])
        elif kind == 3:
            result[at:at] = result[max(0, at - rng.randint(1, 64)) : at]
        elif kind == 4 and at < len(result):
            result[at] ^= 1 << rng.randrange(8)
        else:
            del result[at:]
    return bytes(result)


def damaged_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three of its parts replaced, removed, repeated or buried."""
    result = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        owner, key = rng.choice(_places(result))
        kind = rng.randrange(4)
        if kind == 0 and owner is not result:
            del owner[key]
        elif kind == 1 and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        elif kind == 2:
            owner[key] = [owner[key]] if rng.random() < 0.5 else {"a": owner[key]}
        else:
            owner[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        if not result:
            result.append(None)
    return result[0]


def json_text(value: Any) -> bytes:
    """A JSON document, with surrogates as they are written in escapes."""
    return json.dumps(value).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    below = [place for _, item in items if isinstance(item, (dict, list)) for place in _places(item)]
    return [(value, key) for key, _ in items] + below
