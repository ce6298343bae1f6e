"""Chooses the backend for a module as for a container, without creating one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pelagos_core.backends.installed import Node
from pelagos_core.backends.selection import Choice, Selection
from pelagos_core.cli.backend_option import asked_for
from pelagos_core.config.policy import Policy
from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, split_func
from pelagos_core.plugin.limits import Limits


def choose(node: Node, module: str, annotations: dict[str, str], policy: Policy) -> tuple[Choice, Entrypoint]:
    """Ask the backends about a module, which may be a `path#function`. Its file stays open. Raises NotFound, or
    InvalidArgument if it is no regular file.
    """
    path, func = split_func(module)
    if not Path(path).exists():
        raise NotFound(f"module {path!r} does not exist")
    if not Path(path).is_file():
        raise InvalidArgument(f"module {path!r} is not a regular file")
    process = Process(args=(module,))
    spec = Spec(process=process, annotations=annotations)
    bundle = Bundle(id="explain", namespace="pelagos", path=str(Path.cwd()), spec=spec, policy=policy)
    with Path(path).open("rb") as file:
        # The copy stays open for as long as the command runs.
        entrypoint = Entrypoint.of(process, path, func, os.dup(file.fileno()), Limits.of(spec, policy))
        entrypoint = replace(entrypoint, network=policy.network)
    selection = Selection(node.backends, asked_for(annotations, node.config))
    return selection.choose(bundle, entrypoint), entrypoint
