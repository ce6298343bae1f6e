"""What the files of a release hold: everything that they must, nothing that is not of the tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FIELDS = ("Summary", "Author", "Keywords", "Classifier", "License-Expression", "Requires-Python")
_COMPILED = re.compile(r"\w+/bin/[\w.-]+")  # what a build hook adds
_MADE = {"PKG-INFO"}  # what hatchling writes into an archive of sources
# The processor in an ELF file's header (elf(5), e_machine).
_PROCESSORS = {62: "x86_64", 183: "aarch64"}
# Where it is compiled: what any Linux can run names nothing of this machine.
_HERE = [str(ROOT), sys.prefix, f"{Path.home()}/", f"{tempfile.gettempdir()}/"]


def faults(file: Path, directory: Path, version: str) -> Iterator[str]:
    """What is wrong with a wheel or an archive of sources, in one line each.

    directory: of its distribution in the tree. version: of the release.
    """
    held = _held(file)
    if file.suffix == ".whl":
        named = {name: data for name, data in held.items() if ".dist-info/" not in name}
        info = {name.partition("/")[2]: data for name, data in held.items() if name not in named}
        metadata, licence, types = info.get("METADATA", b""), info.get("licenses/LICENSE"), named
        yield from _foreign_in_wheel(file, named, directory)
    else:
        named = {name.partition("/")[2]: data for name, data in held.items()}
        metadata, licence, types = named.get("PKG-INFO", b""), named.get("LICENSE"), named
        yield from _foreign_in_sources(named, directory)
    yield from _wrong_metadata(BytesParser().parsebytes(metadata), version)
    if licence != (ROOT / "LICENSE").read_bytes():
        yield "it has no LICENSE, or another one than the tree"
    if not any(name.endswith("/py.typed") for name in types):
        yield "it has no py.typed"


def without_address(file: Path) -> bool:
    """Whether a wheel's metadata has no address of the project."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return not BytesParser().parsebytes(archive.read(name)).get_all("Project-URL")


def _held(file: Path) -> dict[str, bytes]:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(file) as archive:
        opened = {entry.name: archive.extractfile(entry) for entry in archive if not entry.isdir()}
        return {name: stream.read() if stream else b"" for name, stream in opened.items()}


def _foreign_in_wheel(file: Path, named: dict[str, bytes], directory: Path) -> Iterator[str]:
    known = _tracked(directory)
    for name, data in named.items():
        if data.startswith(b"\x7fELF") and _COMPILED.fullmatch(name):
            yield from _wrong_program(file, name, data)
        elif name not in known:
            yield f"it has {name}, which is not in the tree"
        elif name.endswith((".c", ".h")) or "tests" in Path(name).parts:
            yield f"it has {name}, which nothing uses once it is installed"


def _foreign_in_sources(named: dict[str, bytes], directory: Path) -> Iterator[str]:
    # A backend's archive has copies of what it is compiled with, from native/.
    known = _tracked(directory) | _MADE | {f"native/{name}" for name in _tracked(ROOT / "native")}
    known |= {".gitignore"}  # hatchling adds the tree's own, since it has looked at it
    for name, data in named.items():
        if name not in known:
            yield f"it has {name}, which is not in the tree"
        elif data.startswith(b"\x7fELF"):
            yield f"it has {name}, which is compiled"
    for parts in {Path(name).parts[:2] for name in named}:
        if directory == ROOT and parts[0] not in ("pelagos_core", "protos") and len(parts) > 1:
            yield f"it has {'/'.join(parts)}, which is of another distribution"


def _wrong_program(file: Path, name: str, data: bytes) -> Iterator[str]:
    processor = _PROCESSORS.get(int.from_bytes(data[18:20], "little"), "another processor")
    if not file.stem.endswith(f"_{processor}"):
        yield f"{name} is for {processor}"
    yield from (f"{name} names a path of this machine, {path}" for path in _HERE if path.encode() in data)


def _wrong_metadata(metadata: Message, version: str) -> Iterator[str]:
    if metadata["Version"] != version:
        yield f"its version is {metadata['Version']}, not {version}"
    yield from (f"its metadata has no {name}" for name in _FIELDS if not metadata[name])
    if metadata["Description-Content-Type"] != "text/markdown" or not str(metadata.get_payload()).startswith("# "):
        yield "its metadata has no README"


def _tracked(directory: Path) -> set[str]:
    """The files below a directory of the tree that git knows."""
    words = ["git", "-C", str(directory), "ls-files", "-z", "."]
    return set(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\0")) - {""}
