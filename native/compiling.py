"""Compiling C while a wheel, or an editable installation, is made: for this distribution's and the backends' hooks.

The compiler is $CC, else the machine's, else that of the package ziglang, which pip gets for the build.
PELAGOS_MACHINE (such as aarch64) names another processor, which is compiled for by ziglang; what is made so runs
on any Linux, as does what is made with PELAGOS_RELEASE set.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ZIGLANG = "ziglang==0.17.1"
NO_COMPILER = (
    "{}: no C compiler: install gcc and libc6-dev (on Debian: apt-get install gcc libc6-dev), "
    "or let pip get the package ziglang"
)
# The oldest C library that pip has a tag for; a program that is linked statically needs none.
RELEASE_TAG = "py3-none-manylinux_2_17_{}"
_GLIBC, _STATIC = "linux-gnu.2.17", "linux-musl"
FLAGS = (
    # Some distributions' compilers have a level of their own for _FORTIFY_SOURCE.
    "-std=c11 -O2 -Wall -Wextra -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong "
    "-s -Wl,-z,now -Wl,-z,relro"
).split()
_PROGRAM, _LIBRARY = ("-fPIE", "-pie"), ("-fPIC", "-shared")


@dataclass(frozen=True)
class Product:
    """What is made of some sources.

    name: where it is in its package. static: without a C library of the machine, in a release.
    """

    name: str
    sources: Sequence[Path]
    includes: Sequence[Path] = ()
    library: bool = False
    static: bool = False

    @property
    def newest(self) -> float:
        """When a file that it is made of has changed last."""
        headers = [header for source in self.sources for header in source.parent.glob("*.h")]
        headers += [header for directory in self.includes for header in directory.glob("*.h")]
        return max(path.stat().st_mtime for path in [*self.sources, *headers])


def compiler() -> list[str] | None:
    """The words of the machine's own C compiler; None if it has none."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def uses_zig() -> bool:
    """Whether ziglang compiles: for another machine, for a release, or where there is no compiler."""
    return bool(os.environ.get("PELAGOS_MACHINE") or os.environ.get("PELAGOS_RELEASE")) or compiler() is None


def machine() -> str:
    """The processor that is compiled for, as platform.machine() names it."""
    return os.environ.get("PELAGOS_MACHINE") or platform.machine()


def tag() -> str:
    """The tag of a wheel with something compiled in it."""
    return RELEASE_TAG.format(machine()) if uses_zig() else f"py3-none-linux_{machine()}"


def compile(product: Product, target: Path, package: str) -> None:
    """Make a product as the file `target`. Raises SystemExit, with a plain message. package: which it is for."""
    words = compiler() or []
    if uses_zig():
        if importlib.util.find_spec("ziglang") is None:
            raise SystemExit(NO_COMPILER.format(package))
        system = _STATIC if product.static else _GLIBC
        words = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine()}-{system}"]
        words += ["-static"] if product.static else []
    words += [*FLAGS, *(_LIBRARY if product.library else _PROGRAM)]
    words += [f"-I{directory}" for directory in product.includes]
    target.parent.mkdir(exist_ok=True)
    # By rename: a `pelagos install` may read it, and another build may be at work.
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        done = subprocess.run([*words, "-o", str(part), *map(str, product.sources)], check=False)
        if done.returncode:
            raise SystemExit(f"{package}: {words[0]} could not compile it (code {done.returncode}), see above")
        part.rename(target)
    except FileNotFoundError:
        raise SystemExit(NO_COMPILER.format(package)) from None
    finally:
        part.unlink(missing_ok=True)
