"""Platforms of images, with the names of docker and of the image spec."""

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
        """The platform of the machine on which the command runs."""
        return cls(*_MACHINES.get(os.uname().machine, f"linux/{os.uname().machine}").split("/"))

    @classmethod
    def parse(cls, word: str) -> Platform:
        """Parse docker's notation, such as `linux/arm64`. Raises InvalidArgument."""
        parts = word.split("/")
        if parts[0] in ("wasi", "wasip1", "wasip2", "wasm") or "wasm" in parts:
            why = "containerd on a node finds no match for it: leave it out, or make an artifact (--artifact)"
            raise InvalidArgument(f"platform {word!r}: {why}")
        if parts[0] != "linux" or len(parts) not in (2, 3) or parts[1] not in _ARCHITECTURES:
            raise InvalidArgument(f"platform {word!r} is not such as linux/amd64 or linux/arm64")
        return cls(*parts)

    def fields(self) -> dict[str, str]:
        """The fields of a config or a descriptor."""
        return {name: value for name, value in self._asdict().items() if value}
