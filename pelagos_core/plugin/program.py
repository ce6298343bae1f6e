"""An engine that is a command-line program: finds it, and lists the host's files that it needs.

The program runs in an engine root: a root directory that contains only these files, read-only, a copy
of the module, and the container's root file system. So a guest cannot reach the host's files. When the
engine opens the module, before it has read any byte of it, its own files are removed from the engine
root: a guest cannot reach them either, no matter how the engine resolves links and `..`.
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
"""The path of the container's root file system in the engine root."""

ENGINE_FILES = "/engine"
"""The directory of the engine root in which the engine's files are mounted; links at their targets point to it."""

SCRATCH = "/tmp"  # noqa: S108 (not the host's)
"""A small writable directory in the engine root; it is removed when the engine opens the module."""

COMPILED_MODULE = "/module.wasm"
"""The path of the module for a program that compiles ahead of time."""

_LIST_SECONDS = 10
_NAME_SOURCE = b"libnss_"  # the prefix of the libraries that glibc loads to resolve names (nss/nss_module.c)
_DIGITS = 16  # of a digest; enough on one node
_LISTED = re.compile(r"^\s*(?:\S+ => )?(/\S.*?) \(0x[0-9a-f]+\)$", re.MULTILINE)
SETTINGS = frozenset({"program", "root"})


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of the host. source: its path on the host. target: its path in the engine root."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Program:
    """An engine's program, with all files that it needs to start.

    source: its path on the host. path: its path in the engine root.
    files: the program, its loader and its libraries.
    command: the words that execute it on the host, for example to read its version.
    preload: the path, in the engine root, of the library that `environment` preloads; empty for a static program.
    loads_name_sources: whether it is static and contains the part of glibc that resolves host names.
    """

    source: str
    path: str
    files: tuple[HostFile, ...]
    command: tuple[str, ...]
    preload: str = ""
    loads_name_sources: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for a program that may use the network: LD_PRELOAD.

        The preloaded library resolves host names by /etc/hosts and DNS only, so that glibc loads no library
        (`libnss_*`) from the container's image.
        Raises FailedPrecondition for a static program that contains this part of glibc: it cannot preload a library.
        """
        if self.loads_name_sources:
            text = f"program {self.source!r} has glibc in itself, which loads libraries of the image to look names up"
            raise FailedPrecondition(f"{text}: it gets no guest with a network", reasons.NETWORK)
        return {"LD_PRELOAD": self.preload} if self.preload else {}

    @property
    def targets(self) -> tuple[str, ...]:
        """The paths that are removed from the engine root when the engine opens the module."""
        return (ENGINE_FILES, SCRATCH, self.path, *(file.target for file in self.files))

    def identity(self) -> str:
        """A digest of the paths, inodes, sizes and times of the host's files. It changes with an upgrade.

        Call it in a process that can see the host's files. Raises OSError.
        """
        seen = [(file.source, os.stat(file.source)) for file in self.files]
        return _digest_of([(path, it.st_ino, it.st_size, it.st_mtime_ns) for path, it in seen])

    def output(self, *arguments: str) -> str:
        """Execute the program on the host, without a guest, and return what it prints to stdout.

        Raises FailedPrecondition if it fails, or takes more than ten seconds.
        """
        return _output([*self.command, *arguments])


@dataclass(frozen=True, slots=True)
class Compilation:
    """How a program compiles a module ahead of time.

    arguments: the program's arguments. The module is at COMPILED_MODULE.
    output: the path in SCRATCH to which the program writes the code, as a regular file.
    invalid: matches, in the output of a failed run, what is wrong with the module (group 1).
    environment: the program's environment variables.
    """

    program: Program
    arguments: tuple[str, ...]
    output: str
    invalid: re.Pattern[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """What the code depends on, besides the module, the versions and the processor. Raises OSError."""
        return _digest_of([self.program.identity(), self.arguments, sorted(self.environment.items())])


def fault(invalid: re.Pattern[str], output: bytes) -> str:
    """The fault of a module according to a program's output, in one line; empty if the output names none."""
    match = invalid.search(output.decode("utf-8", "replace"))
    return " ".join(match[1].split()) if match else ""


def _digest_of(value: object) -> str:
    """A short digest of a value that JSON can express."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_DIGITS]


def find(name: str, settings: Mapping[str, object]) -> Program:
    """Find an engine's program and list the files that it needs. Call it on the host, when the backend is loaded.

    name: the program's name on the PATH.
    settings: the backend's table of the node's config. `program` is the program's absolute path; without it
        the PATH is searched. `root` is a directory that contains a whole system (loader and libraries), such as
        an unpacked distribution; `program` is then a path inside it, by default `/usr/bin/NAME`.
    Raises NotFound if the program is missing, InvalidArgument for a wrong setting, FailedPrecondition if the
    program is no ELF program, or its loader cannot list its libraries.
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
    # A program inside `root` is started by the loader of that system, with its libraries.
    search = ["--library-path", ":".join(_library_directories(root))] if root else []
    listed = _LISTED.findall(_output([loader, *search, "--list", source]))
    libraries = [library for library in listed if os.path.realpath(library) != loader]
    directory = _default_directory(libraries, root)
    files = [HostFile(os.path.realpath(each), f"{directory}/{os.path.basename(each)}") for each in libraries]
    command = (loader, *search, source) if root else (source,)
    names = HostFile(str(pelagos_native.NAMES), f"{directory}/{pelagos_native.NAMES.name}")
    return Program(source, path, (own, HostFile(loader, interpreter), *files, names), command, names.target)


def _interpreter(path: str) -> str:
    """The path of a program's loader; empty for a static program."""
    with open(path, "rb") as file:
        found = elf.interpreter(file.fileno())
    if found is None:
        raise FailedPrecondition(f"program {path!r} is not an ELF program")
    return found


def _contains(path: str, text: bytes) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return data.find(text) >= 0


def _loader(root: str, interpreter: str) -> str:
    # If packages were only unpacked, links such as /lib64 -> usr/lib64 are missing.
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
    """A directory that the loader searches by default: that of the C library."""
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
