"""Compiles the tests' own C programs together with installed sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "native"
_FLAGS = "-std=c11 -Wall -Wextra -Werror".split()
_SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all".split()
_INCLUDES = [f"-I{NATIVE / name}" for name in ("process", "include", "common")]


def compiled(program: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Compile a program. Returns its path."""
    name = _compiler()
    return _compiled([name] if name else [sys.executable, "-m", "ziglang", "cc"], program, sources, flags)


def has_compiler() -> bool:
    """Whether the machine has a C compiler: that of ziglang has no AddressSanitizer."""
    return _compiler() is not None


def sanitized(program: Path, sources: Sequence[Path], *flags: str, compiler: str = "") -> Path:
    """Compile a program with sanitizers: it ends at the first memory error or undefined behaviour."""
    return _compiled([compiler or _compiler() or "cc"], program, sources, [*_SANITIZED, *flags])


def _compiler() -> str | None:
    return next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def _compiled(words: Sequence[str], program: Path, sources: Sequence[Path], flags: Sequence[str]) -> Path:
    done = subprocess.run(
        [*words, *_FLAGS, *flags, *_INCLUDES, "-o", program, *sources], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return program
