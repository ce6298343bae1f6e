"""Descriptors 0, 1 and 2 of the calling process. Lean."""

import os


def open_closed() -> None:
    """Open /dev/null for each standard stream that is closed (`pelagos run x.wasm >&-`).

    Else the next file or socket would get the number of a stream, and receive data for it. Call it before any other
    file is opened.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) returns the lowest free number
