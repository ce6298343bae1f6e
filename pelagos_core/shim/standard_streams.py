"""The process' own descriptors 0, 1 and 2. Lean."""

import os


def open_closed() -> None:
    """Put /dev/null where a standard stream was closed (`pelagos run x.wasm >&-`).

    Else the next file or socket that is opened would get its number, and with it what is
    meant for the stream. To be called before anything is opened.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) takes the lowest number that is free
