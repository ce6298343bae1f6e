"""Makes objects immortal: CPython does not write their reference counts, so forks keep sharing their pages.

CPython stores an object's reference count in the object. A fork that only reads its parent's objects
therefore writes to them, and gets copies of their pages. From CPython 3.12 on an object may be
immortal (PEP 683): its count has a value that the interpreter does not change. The interpreter
sets it for some objects; this module sets it for all objects, once everything is loaded.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
from types import CodeType

_CHUNK = 1024
_IMMORTAL = 0xFFFFFFFF  # Include/object.h, _Py_IMMORTAL_REFCNT: the lower half of a 64-bit count
_MORTAL = 0x7FFFFFFF  # the greatest lower half that is counted


def supported() -> bool:
    """Whether this interpreter has the supported layout of counts: CPython 3.12 and 3.13, 64 bits, with a GIL."""
    known = sys.implementation.name == "cpython" and sys.version_info[:2] in ((3, 12), (3, 13))
    return known and sys.maxsize > 1 << 32 and not sysconfig.get_config_var("Py_GIL_DISABLED") and is_immortal(None)


def make_everything_immortal() -> int:
    """Make all reachable objects immortal, once in a process and its forks.

    Returns their number; 0 if that was done before, or is not supported. They are never freed afterwards.
    Call it before gc.freeze: gc.get_objects does not return frozen objects.
    """
    if not supported() or is_immortal(make_everything_immortal):
        return 0
    count = 0
    pending = gc.get_objects()
    while pending:
        chunk, pending[-_CHUNK:] = pending[-_CHUNK:], []
        new = [each for each in chunk if not is_immortal(each)]
        for each in new:
            ctypes.c_uint32.from_address(id(each)).value = _IMMORTAL
            if isinstance(each, CodeType):  # the collector does not traverse it
                pending += (each.co_consts, each.co_names, each.co_name, each.co_qualname, each.co_filename)
        pending += gc.get_referents(*new)
        count += len(new)
    return count


def is_immortal(value: object) -> bool:
    """Whether an object is immortal. Only if `supported`."""
    return ctypes.c_uint32.from_address(id(value)).value > _MORTAL
