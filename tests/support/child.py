"""Runs a function in a forked child, where it may change the state of the process."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def outcome(prepare: Callable[[], object], call: Callable[[], object]) -> str:
    """The result of a call in a prepared child: `done`, or the error's name."""

    def run() -> str:
        prepare()
        try:
            call()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "done"

    return in_child(run)


def in_child(run: Callable[[], T]) -> T:
    """Run a function in a child; return its result or raise its exception."""
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
