"""Get the engines that pip cannot give, into a directory of their own: WasmEdge and Wasmer.

    python scripts/engines.py [DIRECTORY]

WasmEdge is Debian 13's package, unpacked with the libraries that it needs, so that it runs on
any Linux; Wasmer is built by cargo, which takes about 20 minutes once. Both stay in DIRECTORY
(PELAGOS_CACHE/engines, else ~/.cache/pelagos/engines); what is there is not done again, and a
build that was interrupted goes on. At the end it prints the config that makes pelagos use them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("PELAGOS_CACHE") or Path.home() / ".cache" / "pelagos")
DIRECTORY = CACHE / "engines"
WASMER_VERSION = "7.4.2"
_DEBIAN = "trixie"

CONFIG = """\
[backends.wasmedge]
root = "{0}/wasmedge"

[backends.wasmer]
program = "{0}/wasmer/bin/wasmer"
"""


def present(directory: Path = DIRECTORY) -> bool:
    """Whether both engines are there."""
    return _has_wasmedge(directory) and _has_wasmer(directory)


def config(directory: Path = DIRECTORY) -> str:
    """The text of a config file that makes pelagos use them."""
    return CONFIG.format(directory)


def _has_wasmedge(directory: Path) -> bool:
    return (directory / "wasmedge/usr/bin/wasmedge").exists()


def _has_wasmer(directory: Path) -> bool:
    return (directory / "wasmer/bin/wasmer").exists()


def _get_wasmedge(directory: Path) -> None:
    tool("mmdebstrap")
    part = directory / "wasmedge.part"
    shutil.rmtree(part, ignore_errors=True)
    _run(["mmdebstrap", "--quiet", "--variant=extract", "--include=wasmedge,libc6", _DEBIAN, str(part)])
    part.rename(directory / "wasmedge")


def _get_wasmer(directory: Path) -> None:
    if not shutil.which("cargo"):
        raise RuntimeError("cargo is not there: Wasmer is built by Rust 1.9x, which rustup installs")
    part, target = directory / "wasmer.part", directory / "wasmer.target"
    features = ["--no-default-features", "--features", "sys,wat,cranelift"]
    words = ["cargo", "install", "wasmer-cli", "--version", WASMER_VERSION, "--locked", *features]
    # Progress is cargo's own. Its target directory is kept until the end, so that it can go on.
    _run([*words, "--root", str(part), "--target-dir", str(target)])
    part.rename(directory / "wasmer")
    shutil.rmtree(target)


def tool(package: str) -> None:
    """A Debian package whose command has its name; as root it is installed. Raises RuntimeError."""
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
    """Get what is missing; 1 if something could not be had."""
    directory = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, Callable[[Path], bool], Callable[[Path], None], str]] = [
        ("WasmEdge", _has_wasmedge, _get_wasmedge, "unpacking Debian's package, 10 s"),
        ("Wasmer", _has_wasmer, _get_wasmer, "building it, about 20 minutes"),
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
            print(f"{name}: not to be had here: {error}", file=sys.stderr)
        else:
            print(f"{name}: ready", flush=True)
    print(f"\nFor pelagos to use them, put this into /etc/pelagos/config.toml:\n\n{config(directory)}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
