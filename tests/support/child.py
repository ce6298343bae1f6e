"""Running a function in a forked child, where it may change the process as it likes."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def outcome(prepare: Callable[[], object], call: Callable[[], object]) -> str:
    """What a call comes to in a child that was prepared for it: `done`, or the error's name."""

    def run() -> str:
        prepare()
        try:
            call()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "done"

    return in_child(run)


def in_child(run: Callable[[], T]) -> T:
    """Run it in a child; return what it returns, raise what it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                outcome: tuple[bool, object] = (True, run())
            except BaseException as error:
                outcome = (False, error)
            os.write(writer, pickle.dumps(outcome))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        data = said.read()
    os.waitpid(pid, 0)
    assert data, "the child died"
    good, value = pickle.loads(data)
    if not good:
        raise value
    return value
