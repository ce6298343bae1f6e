"""Compile the native part while its wheel, or its editable installation, is made: see compiling.py."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "pelagos_native/bin"


def _compiling(root: Path) -> Any:  # noqa: ANN401 (a module)
    # hatchling runs this file by its path, so there is nothing to import the other one from.
    spec = importlib.util.spec_from_file_location("compiling", root / "compiling.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls."""

    def dependencies(self) -> list[str]:
        """What the build needs of PyPI."""
        compiling = _compiling(Path(self.root))
        return [compiling.ZIGLANG] if compiling.uses_zig() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say for which machines the wheel is. version: `editable` or `standard`."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        compiling = _compiling(root)
        directory = root / _PACKAGE
        if version != "editable":
            # Beside the tree, whose own products are this machine's.
            directory = Path(tempfile.mkdtemp(prefix="pelagos-native-"))
        for product in _products(compiling, root):
            target = directory / product.name
            if not target.exists() or target.stat().st_mtime < max(product.newest, Path(__file__).stat().st_mtime):
                compiling.compile(product, target, "pelagos-native")
            if version != "editable":
                build_data["force_include"][str(target)] = f"{_PACKAGE}/{product.name}"
        build_data["pure_python"] = False
        build_data["tag"] = compiling.tag()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled beside the tree."""
        for path in build_data["force_include"]:
            shutil.rmtree(Path(path).parent, ignore_errors=True)


def _products(compiling: Any, root: Path) -> list[Any]:  # noqa: ANN401 (a module)
    includes = [root / "include", root / "common"]
    digest = root / "common/sha256.c"
    launcher = [*sorted((root / "launcher").glob("*.c")), digest]
    process = [*sorted((root / "process").glob("*.c")), digest]
    return [
        compiling.Product("launcher", launcher, includes, static=True),
        compiling.Product("libpelagos.so", process, includes, library=True),
    ]
