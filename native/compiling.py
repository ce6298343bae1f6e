"""Compiles C during the build of a wheel or an editable installation, for this distribution and for backends.

The compiler is $CC, else the machine's, else that of the package ziglang, which pip installs for the build.
PELAGOS_MACHINE (such as aarch64) names another processor: ziglang compiles for it. The result then runs on any
Linux, as it does if PELAGOS_RELEASE is set.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ZIGLANG = "ziglang==0.17.1"
NO_COMPILER = (
    "{}: no C compiler: install gcc and libc6-dev (on Debian: apt-get install gcc libc6-dev), "
    "or let pip get the package ziglang"
)
# The oldest C library for which pip has a tag. A statically linked program needs no C library.
RELEASE_TAG = "py3-none-manylinux_2_17_{}"
_GLIBC, _STATIC = "linux-gnu.2.17", "linux-musl"
FLAGS = (
    # The compilers of some distributions set another level of _FORTIFY_SOURCE.
    "-std=c11 -O2 -Wall -Wextra -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong "
    "-s -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack"
).split()
_PROGRAM, _LIBRARY = ("-fPIE", "-pie"), ("-fPIC", "-shared")
_LIBRARIES = ("-ldl",)  # dlopen(3), before glibc 2.34


@dataclass(frozen=True)
class Product:
    """A program or library, and its sources.

    name: its file name. static: whether a release links it statically. flags: for the compiler, beside `FLAGS`.
    """

    name: str
    sources: Sequence[Path]
    includes: Sequence[Path] = ()
    library: bool = False
    static: bool = False
    flags: Sequence[str] = ()

    @property
    def newest(self) -> float:
        """The latest modification time of its sources and headers, in seconds since the epoch."""
        headers = [header for source in self.sources for header in source.parent.glob("*.h")]
        headers += [header for directory in self.includes for header in directory.glob("*.h")]
        return max(path.stat().st_mtime for path in [*self.sources, *headers])


def digest(files: Iterable[Path]) -> str:
    """A sha256, in hex, of the content of some files, independent of their order and times."""
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(path.read_bytes()).digest() for path in files))).hexdigest()


def compiler() -> list[str] | None:
    """The command of the machine's C compiler, as words; None if there is none."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def uses_zig() -> bool:
    """Whether ziglang compiles: for another machine, for a release, or if there is no other compiler."""
    return bool(os.environ.get("PELAGOS_MACHINE") or os.environ.get("PELAGOS_RELEASE")) or compiler() is None


def machine() -> str:
    """The target processor, as platform.machine() names it."""
    return os.environ.get("PELAGOS_MACHINE") or platform.machine()


def tag() -> str:
    """The tag of a wheel that contains compiled files."""
    return RELEASE_TAG.format(machine()) if uses_zig() else f"py3-none-linux_{machine()}"


def compile(product: Product, target: Path, package: str) -> None:
    """Compile a product to the file `target`. package: for error messages. Raises SystemExit with a message."""
    words = compiler() or []
    if uses_zig():
        if importlib.util.find_spec("ziglang") is None:
            raise SystemExit(NO_COMPILER.format(package))
        system = _STATIC if product.static else _GLIBC
        words = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine()}-{system}"]
        words += ["-static"] if product.static else []
    words += [*FLAGS, *(_LIBRARY if product.library else _PROGRAM), *product.flags]
    words += [f"-I{directory}" for directory in product.includes]
    target.parent.mkdir(exist_ok=True)
    # Written to another name and renamed: `pelagos install` or another build may read the file meanwhile.
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        done = subprocess.run([*words, "-o", str(part), *map(str, product.sources), *_LIBRARIES], check=False)
        if done.returncode:
            raise SystemExit(f"{package}: {words[0]} could not compile it (code {done.returncode}), see above")
        part.rename(target)
    except FileNotFoundError:
        raise SystemExit(NO_COMPILER.format(package)) from None
    finally:
        part.unlink(missing_ok=True)


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """A build hook of hatchling. Each hatch_build.py has a subclass.

    package: the distribution's name. directory: the directory of its products, in the tree and in the wheel.
    """

    package = ""
    directory = ""

    def products(self) -> list[Product]:
        """The products to compile."""
        raise NotImplementedError

    def dependencies(self) -> list[str]:
        """The packages that the build needs."""
        return [ZIGLANG] if uses_zig() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the products, and set the wheel's tag. version: `editable` or `standard`."""
        if self.target_name != "wheel":
            return
        directory = Path(self.root, self.directory)
        if version != "editable":
            # Outside of the tree, which keeps products for this machine. Removed when this process ends.
            self._beside = tempfile.TemporaryDirectory(prefix=f"{self.package}-")
            directory = Path(self._beside.name)
        for product in self.products():
            target = directory / product.name
            if not target.exists() or target.stat().st_mtime < max(product.newest, Path(__file__).stat().st_mtime):
                compile(product, target, self.package)
            if version != "editable":
                build_data["force_include"][str(target)] = f"{self.directory}/{product.name}"
        build_data["pure_python"] = False
        build_data["tag"] = tag()


def engine_hook(root: Path, package: str, module: str) -> type[Hook]:
    """The hook of a backend with a native part, whose sources are in `native/` of its project.

    root: of the project. package: the distribution's name. module: the directory of its Python part.
    """
    here = Path(__file__).parent

    class EngineHook(Hook):
        def products(self) -> list[Product]:
            # Pointers in this library have the same names as the functions of the engine's C API.
            hidden = ["-fvisibility=hidden"]
            sources = sorted((root / "native").glob("*.c"))
            return [Product("engine.so", sources, [here / "include"], library=True, flags=hidden)]

    EngineHook.package, EngineHook.directory = package, f"{module}/bin"
    return EngineHook
