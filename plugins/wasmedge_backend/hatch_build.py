"""Compile the native part while a wheel, or an editable installation, is made: see native/compiling.py of the tree."""

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


def get_build_hook() -> Any:  # noqa: ANN401 (a class of that module)
    """What hatchling calls."""
    return _load(_NATIVE / "compiling.py").engine_hook(_HERE, "pelagos-wasmedge", "wasmedge_backend")
