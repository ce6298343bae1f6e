"""The preopened directories of a guest, and the directory in which its relative paths start."""

from __future__ import annotations

import posixpath

from pelagos_core import reasons
from pelagos_core.errors import InvalidArgument, with_reason
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, Preopen
from pelagos_core.rootfs.narrowing import directory_path
from pelagos_core.rootfs.root import Root

_GO = "go:buildid"  # a custom section that Go's compiler writes
_OPENS = "path_open"
_FILESYSTEM = "wasi:filesystem/"


def of(bundle: Bundle) -> tuple[Preopen, ...]:
    """The preopened directories of a guest: the container's root, or none if its policy allows none.

    There is never a second one: a guest's library uses the preopen with the longest matching name, and neither
    links nor `..` lead out of a preopen, so a second one would hide parts of `/`. Which files are writable is
    enforced by the kernel, through the mounts of the guest's mount namespace.
    """
    narrowed = bundle.policy.directories
    return () if narrowed and not narrowed[-1] else (Preopen("/", "/"),)


def working_directory(cwd: str) -> str:
    """The working directory to pass to a guest in PWD; empty for `/`."""
    path = posixpath.normpath(f"/{cwd.lstrip('/')}")
    return "" if path == "/" else path


def variables(env: tuple[str, ...], cwd: str, root: Root) -> tuple[str, ...]:
    """The variables of a guest, with its working directory as PWD unless that is `/`.

    WASI has no working directory. Go's library starts in PWD, or in the first preopen without it.
    cwd: its path in the container. In the init process, after all mounts. Links in the path are resolved here,
    since engines do not follow absolute links.
    """
    path = working_directory(cwd)
    if not path:
        return env
    # If the directory is missing, PWD keeps the unresolved path: lookups then fail instead of starting elsewhere.
    return (*(each for each in env if not each.startswith("PWD=")), f"PWD={directory_path(root, path) or path}")


def warning(entrypoint: Entrypoint) -> str:
    """A warning for a guest whose relative paths may not start in its working directory; else empty.

    It parses the guest's bytes, so call it only in a process with no more privileges than the guest.
    """
    line = warning_in(entrypoint.cwd)
    return line if line and may_be_elsewhere(entrypoint) else ""


def warning_in(cwd: str) -> str:
    """The warning for a guest that `may_be_elsewhere`, with its working directory; empty if that is `/`.

    wasi-libc, and libraries built on it, remove the slash of an absolute path and start in `/`. The calls for
    `x` and `/x` are the same, so no engine can distinguish them.
    """
    if not working_directory(cwd):
        return ""
    text = (
        f"pelagos: relative paths of a program with wasi-libc (C, Rust and others) start in '/', "
        f"not in its working directory {cwd!r}"
    )
    return with_reason(text, reasons.CWD)


def may_be_elsewhere(entrypoint: Entrypoint) -> bool:
    """Whether the module opens files and is not known to start in PWD."""
    if entrypoint.kind is Kind.WAT:
        text = entrypoint.read()
        return _OPENS.encode() in text or _FILESYSTEM.encode() in text
    try:
        interface = entrypoint.interface
    except InvalidArgument:
        return False  # the engine reports the error
    opens = any(each.name == _OPENS or each.name.startswith(_FILESYSTEM) for each in interface.imports)
    return opens and _GO not in interface.custom
