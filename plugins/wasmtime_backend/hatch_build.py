"""Compile the native part while a wheel, or an editable installation, is made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
# In the tree it is beside plugins/; an archive of sources has a copy of what is used of it.
_NATIVE = next(path for path in (_HERE.parent.parent / "native", _HERE / "native") if (path / "compiling.py").exists())


def _load(path: Path) -> Any:  # noqa: ANN401 (a module)
    # hatchling runs this file by its path, so there is nothing to import the other one from.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


compiling = _load(_NATIVE / "compiling.py")


class Hook(compiling.Hook):  # type: ignore[misc, name-defined]
    """What hatchling calls."""

    package = "pelagos-wasmtime"
    directory = "wasmtime_backend/bin"

    def products(self) -> list[Any]:
        """The one library."""
        sources = sorted((_HERE / "native").glob("*.c"))
        # Its names are Wasmtime's own, of which it has pointers.
        hidden = ["-fvisibility=hidden"]
        return [compiling.Product("engine.so", sources, [_NATIVE / "include"], library=True, flags=hidden)]


def get_build_hook() -> type[Hook]:
    """For hatchling, which finds two of them in here."""
    return Hook
