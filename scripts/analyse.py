"""Compile all installed C files with the flags of their build, and check them with gcc's analyzer.

    python scripts/analyse.py [FILE...]

A warning of the compiler or the analyzer is a failure. Compilers other than gcc are used without an analyzer.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "native"


def sources() -> list[Path]:
    """All C files that are part of an installation, the largest first."""
    found = [*NATIVE.glob("*/*.c"), *ROOT.glob("plugins/*/native/*.c")]
    return sorted(found, key=lambda path: -path.stat().st_size)


def words(compiling: ModuleType) -> list[str]:
    """The compiler with the flags of native/compiling.py and those of the analyzer."""
    command = compiling.compiler() or [sys.executable, "-m", "ziglang", "cc"]
    flags = [flag for flag in compiling.FLAGS if flag != "-s" and not flag.startswith("-Wl,")]  # the linker's
    includes = {path.parent for path in [*NATIVE.glob("*/*.h"), *ROOT.glob("plugins/*/native/*.h")]}
    return [*command, *flags, *_analyzer(command), "-fPIC", *(f"-I{path}" for path in sorted(includes)), "-c"]


def faults(command: Sequence[str], source: Path) -> str:
    """The compiler's warnings for a file; empty if there are none."""
    done = subprocess.run([*command, "-o", os.devnull, str(source)], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def load_compiling() -> ModuleType:
    """Import native/compiling.py, which is not in a package."""
    spec = importlib.util.spec_from_file_location("compiling", NATIVE / "compiling.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


def _analyzer(command: Sequence[str]) -> list[str]:
    text = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" in text:
        return ["-fanalyzer"]
    print(f"{command[-1]} is not gcc: no analyzer", file=sys.stderr)
    return []


def main() -> int:
    """Print all faults. Returns an exit code."""
    files = [Path(word) for word in sys.argv[1:]] or sources()
    command = words(load_compiling())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = [text for text in pool.map(lambda path: faults(command, path), files) if text]
    print("\n".join(said) or f"{len(files)} files of C: nothing found")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
