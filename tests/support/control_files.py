"""A control group that consists of texts only."""

from __future__ import annotations

from collections.abc import Mapping


class ControlFiles:
    """Has the reading methods of `Cgroup`."""

    def __init__(self, texts: Mapping[str, str], sizes: tuple[str, ...] = ()) -> None:
        self._texts = texts
        self._sizes = sizes

    def read(self, file: str) -> str:
        return self._texts.get(file, "")

    def hugepage_sizes(self) -> list[str]:
        return list(self._sizes)
