"""Compiles the native part during the build of its wheel or editable installation: see compiling.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def _load(path: Path) -> Any:  # noqa: ANN401 (a module)
    # hatchling executes this file by its path, so the other file is not on sys.path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


compiling = _load(_HERE / "compiling.py")


class Hook(compiling.Hook):  # type: ignore[misc, name-defined]
    """The build hook of this distribution."""

    package = "pelagos-native"
    directory = "pelagos_native/bin"

    def products(self) -> list[Any]:
        """The launcher, the nursery and both libraries."""
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
    """Called by hatchling, which needs it because this module contains two hook classes."""
    return Hook
