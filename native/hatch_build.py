"""Compile the native part while its wheel, or its editable installation, is made.

The compiler is $CC, else the machine's, else that of the package ziglang, which pip gets for the build.
PELAGOS_MACHINE (such as aarch64) names another processor, which is compiled for by ziglang; such a wheel runs
on any Linux, as does one for which PELAGOS_RELEASE is set.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ZIGLANG = "ziglang==0.17.1"
NO_COMPILER = (
    "pelagos-native: no C compiler: install gcc and libc6-dev (on Debian: apt-get install gcc libc6-dev), "
    "or let pip get the package ziglang"
)
# A program that is linked statically needs no libc of the machine, so the oldest tag that pip knows is true.
RELEASE_TAG = "py3-none-manylinux_2_17_{}"
_PROGRAM = "pelagos_native/bin/launcher"
FLAGS = (
    # Some distributions' compilers have a level of their own for _FORTIFY_SOURCE.
    "-std=c11 -O2 -Wall -Wextra -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong "
    "-fPIE -pie -s -Wl,-z,now -Wl,-z,relro"
).split()


def compiler() -> list[str] | None:
    """The words of the machine's own C compiler; None if it has none."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls."""

    def dependencies(self) -> list[str]:
        """What the build needs of PyPI."""
        return [ZIGLANG] if self._with_zig() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say for which machines the wheel is. version: `editable` or `standard`."""
        if self.target_name != "wheel":
            return
        machine = os.environ.get("PELAGOS_MACHINE") or platform.machine()
        root = Path(self.root)
        sources = sorted(root.glob("*.c"))
        program = root / _PROGRAM
        if version != "editable":
            # Beside the tree, whose own program is this machine's.
            program = Path(tempfile.mkdtemp(prefix="pelagos-native-"), "launcher")
            build_data["force_include"][str(program)] = _PROGRAM
        newest = max(path.stat().st_mtime for path in [*sources, *root.glob("*.h"), Path(__file__)])
        if not program.exists() or program.stat().st_mtime < newest:
            self._compile(sources, program, machine)
        build_data["pure_python"] = False
        build_data["tag"] = RELEASE_TAG.format(machine) if self._with_zig() else f"py3-none-linux_{machine}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled beside the tree."""
        for path in build_data["force_include"]:
            shutil.rmtree(Path(path).parent, ignore_errors=True)

    @staticmethod
    def _with_zig() -> bool:
        named = os.environ.get("PELAGOS_MACHINE") or os.environ.get("PELAGOS_RELEASE")
        return bool(named) or compiler() is None

    def _compile(self, sources: list[Path], program: Path, machine: str) -> None:
        words = compiler() or []
        if self._with_zig():
            if importlib.util.find_spec("ziglang") is None:
                raise SystemExit(NO_COMPILER)
            words = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl", "-static"]
        program.parent.mkdir(exist_ok=True)
        # By rename: a `pelagos install` may read the program, and another build may be at work.
        part = program.with_name(f".{program.name}.{os.getpid()}")
        try:
            done = subprocess.run([*words, *FLAGS, "-o", str(part), *map(str, sources)], check=False)
            if done.returncode:
                raise SystemExit(f"pelagos-native: {words[0]} could not compile it (code {done.returncode}), see above")
            part.rename(program)
        except FileNotFoundError:
            raise SystemExit(NO_COMPILER) from None
        finally:
            part.unlink(missing_ok=True)
