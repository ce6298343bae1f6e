"""The selector of the daemon's event loop: epoll(7) and a table by descriptor.

asyncio calls its selector about fifty times for a container. The standard library's selector looks up each
descriptor in three layers, which takes more time than the system calls.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Mapping
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from typing import Any, Protocol

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
# EPOLLHUP and EPOLLERR are reported as both events: the callback's system call returns the error or the end.
_NOT_IN, _NOT_OUT = ~_IN, ~_OUT


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


_Fileobj = int | _HasFileno


class _Keys(dict[int, SelectorKey]):
    """The keys by descriptor. Look-ups accept a number or an object with `fileno`."""

    def get(self, fileobj: Any, default: Any = None) -> Any:  # noqa: ANN401 (the Mapping of selectors.BaseSelector)
        return super().get(_number(fileobj), default)

    def __getitem__(self, fileobj: Any) -> SelectorKey:  # noqa: ANN401
        return super().__getitem__(_number(fileobj))


class EpollSelector(selectors.BaseSelector):
    """A selector for asyncio.SelectorEventLoop. Raises the same errors as selectors.EpollSelector."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys = _Keys()

    def fileno(self) -> int:
        """The descriptor of the epoll instance."""
        return self._epoll.fileno()

    def register(self, fileobj: _Fileobj, events: int, data: Any = None) -> SelectorKey:  # noqa: ANN401 (the caller's own)
        """Register a descriptor. Raises KeyError if it is registered already, ValueError or OSError."""
        fd = _number(fileobj)
        if dict.get(self._keys, fd) is not None:
            raise KeyError(f"descriptor {fd} is already registered")
        self._epoll.register(fd, _mask(events))
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def modify(self, fileobj: _Fileobj, events: int, data: Any = None) -> SelectorKey:  # noqa: ANN401 (the caller's own)
        """Change the events or the data. Raises KeyError if the descriptor is not registered."""
        fd = _number(fileobj)
        if self._keys[fd].events != events:
            self._epoll.modify(fd, _mask(events))
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: _Fileobj) -> SelectorKey:
        """Remove a descriptor. Raises KeyError if it is not registered."""
        fd = _number(fileobj)
        key = self._keys.pop(fd)
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass  # epoll(7): the kernel removes a descriptor that is closed
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Return the ready keys with their events. timeout: maximum seconds to wait; None for no limit."""
        try:
            found = self._epoll.poll(None if timeout is None else max(timeout, 0.0), len(self._keys) or 1)
        except InterruptedError:
            return []
        ready = []
        for fd, event in found:
            key = dict.get(self._keys, fd)
            if key is not None:
                events = (EVENT_WRITE if event & _NOT_IN else 0) | (EVENT_READ if event & _NOT_OUT else 0)
                ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        """Close the epoll instance."""
        self._epoll.close()
        self._keys.clear()

    def get_key(self, fileobj: _Fileobj) -> SelectorKey:
        """The key of a descriptor. Raises KeyError if it is not registered."""
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """All keys."""
        return self._keys


def _number(fileobj: _Fileobj) -> int:
    fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if fd < 0:
        raise ValueError(f"invalid file descriptor: {fd}")
    return fd


def _mask(events: int) -> int:
    return (_IN if events & EVENT_READ else 0) | (_OUT if events & EVENT_WRITE else 0)
