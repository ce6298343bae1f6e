"""A file descriptor with an owner, which closes it."""

from __future__ import annotations

import os


class Fd(int):
    """A file descriptor that is closed once: at the end of its `with` block or by `close`, unless it was released.

    It is an integer, so it can be passed to any system call. A negative number means no descriptor.
    """

    _is_owned = True

    def release(self) -> int:
        """Return the number; the caller must close the descriptor."""
        self._is_owned = False
        return int(self)

    def close(self) -> None:
        """Close it, unless it is closed or released."""
        if self._is_owned and self >= 0:
            self._is_owned = False
            os.close(self)

    def __enter__(self) -> Fd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
