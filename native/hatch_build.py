"""Compile the native part while its wheel, or its editable installation, is made: see compiling.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def _load(path: Path) -> Any:  # noqa: ANN401 (a module)
    # hatchling runs this file by its path, so there is nothing to import the other one from.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


compiling = _load(_HERE / "compiling.py")


class Hook(compiling.Hook):  # type: ignore[misc, name-defined]
    """What hatchling calls."""

    package = "pelagos-native"
    directory = "pelagos_native/bin"

    def products(self) -> list[Any]:
        """The launcher, and what isolates a process."""
        includes = [_HERE / "include", _HERE / "common"]
        digest = _HERE / "common/sha256.c"
        launcher = [*sorted((_HERE / "launcher").glob("*.c")), digest]
        process = [*sorted((_HERE / "process").glob("*.c")), digest]
        identity = [f'-DPELAGOS_SOURCES="{compiling.digest([*process, *(_HERE / "process").glob("*.h")])}"']
        return [
            compiling.Product("launcher", launcher, includes, static=True),
            compiling.Product(
                "pelagos-nursery",
                [_HERE / "nursery/nursery.c", *process],
                [*includes, _HERE / "process"],
                flags=identity,
            ),
            compiling.Product(
                "libpelagos-names.so",
                [_HERE / "names/names.c"],
                library=True,
                flags=["-nostdlib", "-Wl,--as-needed", "-fno-stack-protector"],
            ),
            compiling.Product("libpelagos.so", process, includes, library=True, flags=identity),
        ]


def get_build_hook() -> type[Hook]:
    """For hatchling, which finds two of them in here."""
    return Hook
