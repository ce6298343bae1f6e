"""Compiles the native part when a wheel or an editable installation is built, see native/compiling.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
# In the repository, native/ is next to plugins/; a source distribution contains a copy of the required files.
_NATIVE = next(path for path in (_HERE.parent.parent / "native", _HERE / "native") if (path / "compiling.py").exists())


def _load(path: Path) -> Any:  # noqa: ANN401 (a module)
    # hatchling executes this file by its path, so the other file cannot be imported by name.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


def get_build_hook() -> Any:  # noqa: ANN401 (a class of that module)
    """Return the class of the build hook; hatchling calls this function."""
    return _load(_NATIVE / "compiling.py").engine_hook(_HERE, "pelagos-wasmtime", "wasmtime_backend")
