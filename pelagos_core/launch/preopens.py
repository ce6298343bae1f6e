"""Which directories a guest is given, under which names, and where its relative paths start."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument, with_reason
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, Preopen
from pelagos_core.plugin.hookspecs import Workload
from pelagos_core.rootfs.narrowing import directory_path
from pelagos_core.rootfs.root import Root

_GO = "go:buildid"  # a custom section of what Go's own compiler makes
_OPENS = "path_open"
_FILESYSTEM = "wasi:filesystem/"


def of(bundle: Bundle) -> tuple[Preopen, ...]:
    """The directories of a guest: the container's root, or none if its policy leaves none.

    There is no second one: a guest's library takes the longest name that fits a path, and no link
    and no `..` leads out of a directory, so a further one would take away what `/` gives.
    What may be written to is the kernel's to say, by the mounts of the guest's own namespace.
    """
    narrowed = bundle.policy.directories
    return () if narrowed and not narrowed[-1] else (Preopen("/", "/"),)


def working_directory(cwd: str) -> str:
    """The container's path of a working directory that a guest is told of; empty for `/`."""
    path = posixpath.normpath(f"/{cwd.lstrip('/')}")
    return "" if path == "/" else path


def variables(env: tuple[str, ...], cwd: str, root: Root) -> tuple[str, ...]:
    """The variables of a guest, with its working directory as PWD where that is not `/`.

    WASI has no working directory. Go's library starts in PWD; without it, in the first preopen.
    cwd: the container's path of it. In the init process, when all is mounted: the links on its
    way are followed here, since engines follow no absolute ones.
    """
    path = working_directory(cwd)
    if not path:
        return env
    # If it is not there any more, nothing is found below it: better than to start elsewhere.
    return (*(each for each in env if not each.startswith("PWD=")), f"PWD={directory_path(root, path) or path}")


def warned(workload: Workload, entrypoint: Entrypoint, say: Callable[[str], object]) -> Workload:
    """The workload, which says the `warning` of its entry point first, if there is one."""
    line = warning(entrypoint)

    def run() -> int:
        say(line)
        return workload()

    return run if line else workload


def warning(entrypoint: Entrypoint) -> str:
    """A line for a guest whose relative paths may not start in its working directory; else empty.

    Looks at the guest's bytes, and so runs with a guest's rights only.
    """
    line = warning_in(entrypoint.cwd)
    return line if line and may_be_elsewhere(entrypoint) else ""


def warning_in(cwd: str) -> str:
    """The line for a guest that `may_be_elsewhere`, by its working directory; empty if that is `/`.

    wasi-libc, and what is built on it, drops the slash of an absolute path and starts in `/`: it
    asks for the same thing by `x` and by `/x`, so that no engine can tell what is meant.
    """
    if not working_directory(cwd):
        return ""
    text = (
        f"pelagos: relative paths of a program with wasi-libc (C, Rust and others) start in '/', "
        f"not in its working directory {cwd!r}"
    )
    return with_reason(text, reasons.CWD)


def may_be_elsewhere(entrypoint: Entrypoint) -> bool:
    """Whether it opens files, and is not known to start in PWD."""
    if entrypoint.kind is Kind.WAT:
        text = entrypoint.read()
        return _OPENS.encode() in text or _FILESYSTEM.encode() in text
    try:
        interface = entrypoint.interface
    except InvalidArgument:
        return False  # the engine says what is wrong with it
    opens = any(each.name == _OPENS or each.name.startswith(_FILESYSTEM) for each in interface.imports)
    return opens and _GO not in interface.custom
