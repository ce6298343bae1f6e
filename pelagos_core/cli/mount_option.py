"""`--mount`, `--volume`, `--dir` and `--tmpfs`: mounts of a container, as docker and engines describe them."""

from __future__ import annotations

import os
from typing import NamedTuple

import click

from pelagos_core.errors import InvalidArgument


class Mount(NamedTuple):
    """An entry of `mounts` in config.json. A daemon parses it to `oci.Mount`, whose import would be slow here."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...]


def absolute(path: str, option: str) -> str:
    """Check a path in the container. Raises BadParameter if it is not absolute."""
    if not path.startswith("/"):
        raise click.BadParameter(f"{path!r} is not absolute", param_hint=option)
    return path


def mount(word: str) -> Mount:
    """The mount of docker's `--mount` syntax. Raises BadParameter, or InvalidArgument if the source is missing."""
    fields = dict(part.partition("=")[::2] for part in word.split(","))
    kind = fields.pop("type", "bind")
    source = fields.pop("source", "") or fields.pop("src", "")
    target = fields.pop("target", "") or fields.pop("destination", "") or fields.pop("dst", "")
    readonly = [name for name in ("readonly", "ro") if fields.pop(name, "false") in ("", "true", "1")]
    if fields or kind not in ("bind", "tmpfs") or not target or (kind == "bind" and not source):
        raise click.BadParameter(f"{word!r} is not type=bind,source=DIR,target=DIR[,readonly]", param_hint="--mount")
    options = ("ro",) if readonly else ()
    if kind == "tmpfs":
        return Mount(absolute(target, "--mount"), "tmpfs", "tmpfs", ("nosuid", "nodev", *options))
    return _bind(source, target, options, "--mount")


def volume(word: str) -> Mount:
    """The mount of docker's `-v` syntax. Raises as `mount`."""
    source, _, rest = word.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or mode not in ("", "rw", "ro"):
        raise click.BadParameter(f"{word!r} is not SOURCE:TARGET[:ro]", param_hint="--volume")
    return _bind(source, target, ("ro",) if mode == "ro" else (), "--volume")


def directory(word: str) -> Mount:
    """The mount of the `--dir` syntax of engines' command lines, `HOST[::GUEST]`. Raises as `mount`."""
    source, _, target = word.partition("::")
    if not source:
        raise click.BadParameter(f"{word!r} is not HOST[::GUEST]", param_hint="--dir")
    return _bind(source, target or os.path.realpath(source), (), "--dir")


def tmpfs(word: str) -> Mount:
    """The mount of docker's `--tmpfs` syntax, `DIR[:OPTIONS]`. Raises BadParameter.

    The options are mount(8)'s; the shim refuses one that it does not know.
    """
    target, _, options = word.partition(":")
    given = tuple(option for option in options.split(",") if option)
    return Mount(absolute(target, "--tmpfs"), "tmpfs", "tmpfs", ("nosuid", "nodev", *given))


def _bind(source: str, target: str, options: tuple[str, ...], option: str) -> Mount:
    if not os.path.exists(source):
        raise InvalidArgument(f"{option}: source {source!r} does not exist")
    return Mount(absolute(target, option), "bind", os.path.realpath(source), ("rbind", *options))
