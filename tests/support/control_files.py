"""A control group that is only the texts of its files."""

from __future__ import annotations

from collections.abc import Mapping


class ControlFiles:
    """Answers as `Cgroup` does when it is read."""

    def __init__(self, texts: Mapping[str, str], sizes: tuple[str, ...] = ()) -> None:
        self._texts = texts
        self._sizes = sizes

    def read(self, file: str) -> str:
        return self._texts.get(file, "")

    def hugepage_sizes(self) -> list[str]:
        return list(self._sizes)
