"""An engine that is a command-line program: where it is, and the host's files that it needs.

It runs in an engine root: nothing but these files, read-only, a copy of the module, and the
container's root file system, so that nothing of the host is in a guest's reach. In the moment in
which the engine opens the module, before it has seen a byte of the guest, its files are taken
away: they are in no guest's reach, however the engine resolves links and `..`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

import pelagos_native
from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.plugin import elf

GUEST_ROOT = "/guest"
"""Where the container's root file system is in the engine root."""

ENGINE_FILES = "/engine"
"""Where the engine's own files are mounted in the engine root; links lead there from their targets."""

SCRATCH = "/tmp"  # noqa: S108 (not the host's)
"""A small writable directory in the engine root, which is there until the engine opens the module."""

COMPILED_MODULE = "/module.wasm"
"""Where a program that compiles ahead of time finds its copy of the module."""

_LIST_SECONDS = 10
_NAME_SOURCE = b"libnss_"  # of which glibc makes the names of the libraries that it loads (nss/nss_module.c)
_DIGITS = 16  # of a digest that tells two things of one node apart
_LISTED = re.compile(r"^\s*(?:\S+ => )?(/\S.*?) \(0x[0-9a-f]+\)$", re.MULTILINE)
SETTINGS = frozenset({"program", "root"})


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of the host, and where it stands in the engine root."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Program:
    """An engine's program with everything it needs to start.

    source: its path on the host. path: its path in the engine root.
    files: the program, its loader and its libraries.
    command: how to run it on the host itself, for example to ask for its version.
    preload: path of the library in `environment`, in the engine root; empty for a static program.
    loads_name_sources: whether it is static and has the part of glibc that looks names up.
    """

    source: str
    path: str
    files: tuple[HostFile, ...]
    command: tuple[str, ...]
    preload: str = ""
    loads_name_sources: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What a program that may use the network needs in its environment: a library that it loads first.

        With it host names are looked up in /etc/hosts and by DNS, and no library of the image is opened for that.
        Raises FailedPrecondition for a program that opens such libraries, and loads no other first.
        """
        if self.loads_name_sources:
            text = f"program {self.source!r} has glibc in itself, which loads libraries of the image to look names up"
            raise FailedPrecondition(f"{text}: it gets no guest with a network", reasons.NETWORK)
        return {"LD_PRELOAD": self.preload} if self.preload else {}

    @property
    def targets(self) -> tuple[str, ...]:
        """The paths of all that is taken out of the engine root when the engine opens the module."""
        return (ENGINE_FILES, SCRATCH, self.path, *(file.target for file in self.files))

    def identity(self) -> str:
        """A digest of which files these are on the host: another one after an upgrade.

        Wherever the host's files are in reach. Raises OSError.
        """
        seen = [(file.source, os.stat(file.source)) for file in self.files]
        return _digest_of([(path, it.st_ino, it.st_size, it.st_mtime_ns) for path, it in seen])

    def output(self, *arguments: str) -> str:
        """Run it on the host, for its own information only; what it prints.

        Raises FailedPrecondition.
        """
        return _output([*self.command, *arguments])


@dataclass(frozen=True, slots=True)
class Compilation:
    """How a program compiles a module ahead of time.

    arguments: of the program, which finds the module at COMPILED_MODULE.
    output: the path in SCRATCH at which it leaves the code, a regular file.
    invalid: finds, in what it prints when it fails, what is wrong with the module.
    environment: the program's own.
    """

    program: Program
    arguments: tuple[str, ...]
    output: str
    invalid: re.Pattern[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """What the code depends on, beside the module, the versions and the processor. Raises OSError."""
        return _digest_of([self.program.identity(), self.arguments, sorted(self.environment.items())])


def fault(invalid: re.Pattern[str], said: bytes) -> str:
    """What a program says to be wrong with a module, in one line; empty if it says nothing of one."""
    match = invalid.search(said.decode("utf-8", "replace"))
    return " ".join(match[1].split()) if match else ""


def _digest_of(value: object) -> str:
    """A short digest of what JSON can express."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_DIGITS]


def find(name: str, settings: Mapping[str, object]) -> Program:
    """Find an engine's program and list what it needs. On the host, when the backend is loaded.

    settings: the backend's table of the node's config. `program`: its absolute path;
        otherwise it is looked up in PATH. `root`: a directory with a whole system that it
        belongs to (its loader and libraries), such as an unpacked distribution; `program` is
        a path inside it then, `/usr/bin/NAME` by default.
    Raises NotFound, InvalidArgument or FailedPrecondition.
    """
    root = _text(settings, "root").rstrip("/")
    inside = _text(settings, "program") or (f"/usr/bin/{name}" if root else "")
    source = f"{root}{inside}" if inside else shutil.which(name) or ""
    if not source:
        raise NotFound(f"program {name!r} is not on the PATH")
    if not os.path.isfile(source) or not os.access(source, os.X_OK):
        raise NotFound(f"program {source!r} does not exist or cannot be executed")
    return _described(os.path.realpath(source), root)


def _text(settings: Mapping[str, object], key: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise InvalidArgument(f"{key} = {value!r}: not an absolute path")
    return value


def _described(source: str, root: str) -> Program:
    path = f"/usr/bin/{os.path.basename(source)}"
    own = HostFile(source, path)
    interpreter = _interpreter(source)
    if not interpreter:
        return Program(source, path, (own,), (source,), loads_name_sources=_contains(source, _NAME_SOURCE))
    loader = _loader(root, interpreter)
    # A program of another system is started by that system's loader, with its libraries.
    search = ["--library-path", ":".join(_library_directories(root))] if root else []
    listed = _LISTED.findall(_output([loader, *search, "--list", source]))
    libraries = [library for library in listed if os.path.realpath(library) != loader]
    directory = _default_directory(libraries, root)
    files = [HostFile(os.path.realpath(each), f"{directory}/{os.path.basename(each)}") for each in libraries]
    command = (loader, *search, source) if root else (source,)
    names = HostFile(str(pelagos_native.NAMES), f"{directory}/{pelagos_native.NAMES.name}")
    return Program(source, path, (own, HostFile(loader, interpreter), *files, names), command, names.target)


def _interpreter(path: str) -> str:
    """The loader that a program names; empty for a static one."""
    with open(path, "rb") as file:
        found = elf.interpreter(file.fileno())
    if found is None:
        raise FailedPrecondition(f"program {path!r} is not an ELF program")
    return found


def _contains(path: str, text: bytes) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return data.find(text) >= 0


def _loader(root: str, interpreter: str) -> str:
    # A tree whose packages were only unpacked lacks the links /lib64 -> usr/lib64.
    for path in (f"{root}{interpreter}", f"{root}/usr{interpreter}"):
        if os.path.exists(path):
            return os.path.realpath(path)
    raise NotFound(f"loader {interpreter!r} is not in {root or '/'!r}")


def _library_directories(root: str) -> list[str]:
    found = []
    for top in ("/lib", "/usr/lib", "/lib64", "/usr/lib64"):
        directory = f"{root}{top}"
        if os.path.isdir(directory):
            found += [directory, *(e.path for e in os.scandir(directory) if e.name.endswith("-linux-gnu"))]
    return found


def _default_directory(libraries: list[str], root: str) -> str:
    """A directory in which the loader looks unasked: the C library's own."""
    for library in libraries:
        if os.path.basename(library).startswith("libc."):
            return os.path.dirname(library.removeprefix(root))
    return "/lib"


def _output(words: list[str]) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, stdin=subprocess.DEVNULL, timeout=_LIST_SECONDS, check=True, env={"HOME": "/"}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedPrecondition(f"{words[-1]!r} cannot be run: {error}") from None
    return done.stdout.decode(errors="replace")
