"""A file descriptor that has an owner."""

from __future__ import annotations

import os


class Fd(int):
    """A file descriptor that is closed once: by the end of its `with` block or `close`, unless it was released.

    It is the number itself, so system calls take it as they take any other. A negative one stands for none.
    """

    _is_owned = True

    def release(self) -> int:
        """Leave the descriptor to the caller; its number."""
        self._is_owned = False
        return int(self)

    def close(self) -> None:
        """Close it, unless that was done or it was released."""
        if self._is_owned and self >= 0:
            self._is_owned = False
            os.close(self)

    def __enter__(self) -> Fd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
