"""Get the engines that pip does not provide into one directory: WasmEdge, Wasmer and Wasmtime's program.

    python scripts/engines.py [DIRECTORY]

WasmEdge is Debian 13's package, unpacked with the libraries that it needs, so that it runs on
any Linux; Wasmer and Wasmtime are built by cargo, which takes about 20 minutes each, once. All stay in DIRECTORY
(PELAGOS_CACHE/engines, else ~/.cache/pelagos/engines). Finished parts are not built again, and an
interrupted build continues. At the end it prints the config with which pelagos uses them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("PELAGOS_CACHE") or Path.home() / ".cache" / "pelagos")
DIRECTORY = CACHE / "engines"
WASMER_VERSION = "7.4.2"
# The newest version first, each with the version of Rust that it needs: the first that the installed Rust can build.
WASMTIME_VERSIONS = {"50.0.1": (1, 97), "49.0.4": (1, 96), "48.0.8": (1, 95)}
_DEBIAN = "trixie"

CONFIG = """\
[backends.wasmtime]
program = "{0}/wasmtime/bin/wasmtime"

[backends.wasmedge]
root = "{0}/wasmedge"

[backends.wasmer]
program = "{0}/wasmer/bin/wasmer"
"""


def present(directory: Path = DIRECTORY) -> bool:
    """Whether all engines are installed in the directory."""
    return _has_wasmtime(directory) and _has_wasmedge(directory) and _has_wasmer(directory)


def config(directory: Path = DIRECTORY) -> str:
    """The text of a config file with which pelagos uses them."""
    return CONFIG.format(directory)


def _has_wasmedge(directory: Path) -> bool:
    return (directory / "wasmedge/usr/bin/wasmedge").exists()


def _has_wasmer(directory: Path) -> bool:
    return (directory / "wasmer/bin/wasmer").exists()


def _has_wasmtime(directory: Path) -> bool:
    return (directory / "wasmtime/bin/wasmtime").exists()


def _get_wasmedge(directory: Path) -> None:
    tool("mmdebstrap")
    part = directory / "wasmedge.part"
    shutil.rmtree(part, ignore_errors=True)
    _run(["mmdebstrap", "--quiet", "--variant=extract", "--include=wasmedge,libc6", _DEBIAN, str(part)])
    part.rename(directory / "wasmedge")


def _get_wasmer(directory: Path) -> None:
    features = ["--no-default-features", "--features", "sys,wat,cranelift"]
    _build(directory, "wasmer", ["wasmer-cli", "--version", WASMER_VERSION, *features])


def _get_wasmtime(directory: Path) -> None:
    _build(directory, "wasmtime", ["wasmtime-cli", "--version", wasmtime_version(_rust())])


def wasmtime_version(rust: tuple[int, ...]) -> str:
    """The newest Wasmtime that this Rust can build. Raises RuntimeError."""
    for version, needed in WASMTIME_VERSIONS.items():
        if rust >= needed:
            return version
    raise RuntimeError("Rust 1.95 or newer is missing: install it with rustup")


def _rust() -> tuple[int, ...]:
    """The version of the installed Rust; (0,) or lower if there is none."""
    if not shutil.which("rustc"):
        return ()
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"rustc (\d+)\.(\d+)", said)
    return tuple(map(int, version.groups())) if version else ()


def _build(directory: Path, name: str, words: list[str]) -> None:
    """Build a program by cargo into the directory `name`. words: of `cargo install`."""
    if not shutil.which("cargo"):
        raise RuntimeError(f"cargo is not there: {name} is built by Rust, which rustup installs")
    part, target = directory / f"{name}.part", directory / f"{name}.target"
    # cargo prints its own progress. Its target directory is kept until the end, so that a build can continue.
    _run(["cargo", "install", *words, "--locked", "--root", str(part), "--target-dir", str(target)])
    part.rename(directory / name)
    shutil.rmtree(target)


def tool(package: str) -> None:
    """Ensure that a command is installed. As root, its Debian package of the same name is installed.

    Raises RuntimeError.
    """
    if shutil.which(package):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"{package} is not there: on Debian, apt-get install {package}")
    # `make test-setup` may ask for it at the same time, and apt does not wait for its own lists.
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which(package):
            return
        patient = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        _run([*patient, "update"])
        _run([*patient, "install", "-y", "--no-install-recommends", package])


def _run(words: list[str]) -> None:
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:3])} ... failed with code {done.returncode}")


def main() -> int:
    """Get the missing engines. Returns 1 if one could not be installed."""
    directory = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, Callable[[Path], bool], Callable[[Path], None], str]] = [
        ("WasmEdge", _has_wasmedge, _get_wasmedge, "unpacking Debian's package, 10 s"),
        ("Wasmer", _has_wasmer, _get_wasmer, "building it, about 20 minutes"),
        ("Wasmtime's program", _has_wasmtime, _get_wasmtime, "building it, about 20 minutes"),
    ]
    complete = True
    for name, has, get, what in steps:
        if has(directory):
            print(f"{name}: already there", flush=True)
            continue
        print(f"{name}: {what} ...", flush=True)
        try:
            get(directory)
        except RuntimeError as error:
            complete = False
            print(f"{name}: cannot be installed here: {error}", file=sys.stderr)
        else:
            print(f"{name}: ready", flush=True)
    print(f"\nFor pelagos to use them, put this into /etc/pelagos/config.toml:\n\n{config(directory)}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
