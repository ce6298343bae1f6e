"""Platforms of images, by the words that docker and the image spec have for them."""

from __future__ import annotations

import os
from typing import NamedTuple

from pelagos_core.errors import InvalidArgument

_MACHINES = {
    "x86_64": "linux/amd64",
    "aarch64": "linux/arm64",
    "armv7l": "linux/arm/v7",
    "i686": "linux/386",
    "ppc64le": "linux/ppc64le",
    "riscv64": "linux/riscv64",
    "s390x": "linux/s390x",
    "loongarch64": "linux/loong64",
}
_ARCHITECTURES = frozenset(name.split("/")[1] for name in _MACHINES.values())


class Platform(NamedTuple):
    """A platform of the image spec."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of_this_machine(cls) -> Platform:
        """That of the machine that the command runs on."""
        return cls(*_MACHINES.get(os.uname().machine, f"linux/{os.uname().machine}").split("/"))

    @classmethod
    def parse(cls, word: str) -> Platform:
        """That of docker's words, such as `linux/arm64`. Raises InvalidArgument."""
        parts = word.split("/")
        if parts[0] in ("wasi", "wasip1", "wasip2", "wasm") or "wasm" in parts:
            why = "containerd on a node finds no match for it: leave it out, or make an artifact (--artifact)"
            raise InvalidArgument(f"platform {word!r}: {why}")
        if parts[0] != "linux" or len(parts) not in (2, 3) or parts[1] not in _ARCHITECTURES:
            raise InvalidArgument(f"platform {word!r} is not such as linux/amd64 or linux/arm64")
        return cls(*parts)

    def fields(self) -> dict[str, str]:
        """As a config and a descriptor have it."""
        return {name: value for name, value in self._asdict().items() if value}
