"""`pelagos run --watch`: restarts the run whenever its module changes.

Each run is a separate `pelagos run`, a child of this process, so it ends in the same way as that command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from pelagos_core.cli import exit_codes, voice

_LOOK_SECONDS = 0.2
_END_SECONDS = 5.0  # from SIGTERM to SIGKILL
_UNWATCHED = "--no-watch"

State = tuple[int, int, int, int]


def watch(path: str, words: Sequence[str], operands: int) -> int:
    """Run the command repeatedly until a signal ends this process; return the exit code.

    path: the module's path. words: the command line after `run`. operands: the number of words in MODULE and ARGS.
    """
    child = _words_of_child(words, operands)
    name = os.path.basename(path)
    with _Interruptible() as interrupted:
        while not interrupted:
            seen = _state(path)
            with subprocess.Popen([sys.executable, "-m", "pelagos_core", "run", *child]) as process:
                while process.poll() is None and not interrupted and not _has_changed(path, seen):
                    time.sleep(_LOOK_SECONDS)
                if process.poll() is None:
                    _end(process)
                elif not interrupted:
                    voice.note(f"exit code {process.returncode}; waiting for {name} to change")
            while not interrupted and not _has_changed(path, seen):
                time.sleep(_LOOK_SECONDS)
            if not interrupted:
                voice.note(f"{name} has changed")
    return exit_codes.of_signal(interrupted[0])


def _words_of_child(words: Sequence[str], operands: int) -> list[str]:
    """The same command line without the watch: the last one of a flag and its opposite is used."""
    end = len(words) - operands
    if end and words[end - 1] == "--":
        end -= 1
    return [*words[:end], _UNWATCHED, *words[end:]]


def _state(path: str) -> State | None:
    """A stamp that changes with a file's content; None if the file is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _has_changed(path: str, seen: State | None) -> bool:
    """Whether the content has changed and the writer is done: two checks find the same state."""
    now = _state(path)
    if now is None or now == seen:
        return False
    time.sleep(_LOOK_SECONDS)
    return now == _state(path)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
        return
    process.kill()


class _Interruptible(list[int]):
    """Collects the signals that should end this process. Within its block they do not end it by themselves."""

    def __enter__(self) -> _Interruptible:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda got, _: self.append(got))
        return self

    def __exit__(self, *_: object) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
