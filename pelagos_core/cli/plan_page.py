"""Prints the plan of a container: all steps of all processes, grouped. Nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from pelagos_core import oci
from pelagos_core.backends.annotations import narrowed, opinions
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.cli import mount_option
from pelagos_core.config import node_file
from pelagos_core.config.node_file import Config
from pelagos_core.isolation import engine_root
from pelagos_core.isolation.compiler_plan import compiler_plan
from pelagos_core.isolation.plan import Phase, Plan, plan
from pelagos_core.isolation.system_calls import Filters
from pelagos_core.linux import credentials
from pelagos_core.oci import Mount
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.kind import split_func
from pelagos_core.plugin.program import Program

_BUNDLE = "/run/pelagos/runs/ID/bundle"
# A placeholder: only a backend knows the program, after it has read the module.
_SOME_PROGRAM = Program("the engine's program", "/engine", (), ())


def lines(config: dict[str, object], rootfs: tuple[mount_option.Mount, ...]) -> Iterator[str]:
    """The plan for a container with this config.json and these layers of its root, as lines of text.

    Any user may call it. Raises the PelagosError with which Create would fail, and FailedPrecondition without
    libseccomp.
    """
    node = node_file.load_node()
    spec = oci.parse(json.dumps(config).encode())
    bundle = Bundle("ID", "pelagos", _BUNDLE, spec, tuple(Mount(*each) for each in rootfs))
    bundle = replace(bundle, policy=narrowed(node.policy, opinions(bundle.wasm_annotations, {})))
    made = plan(bundle, Cgroup.of(spec.cgroups_path, bundle.id), Filters.of(spec.seccomp, bundle.policy))
    path, _ = split_func(spec.process.args[0])
    phases = [*_with_engine_root(made, path), *_compilers(node)]
    for process, group in groupby(phases, key=lambda phase: phase.process):
        yield process
        yield from _indented(group)


def _with_engine_root(made: Plan, path: str) -> Iterator[Phase]:
    """The container's phases, with those of an engine root inserted."""
    path = engine_root.module_path(_SOME_PROGRAM, path)
    for phase in made.phases():
        if phase.name == "if wasm by a program: seal":
            steps = engine_root.assembling(_SOME_PROGRAM, path, made.uid, compiled=False)
            yield Phase(phase.process, "if wasm by a program: engine root", steps)
        yield phase
        if phase.name == "if wasm by a program: seal":
            yield Phase(
                phase.process, "if wasm by a program: loaded", (engine_root.KeepModuleBack(_SOME_PROGRAM, path),)
            )


def _compilers(node: Config) -> list[Phase]:
    user, memory = credentials.unprivileged(), node.cache.memory
    process = "compiler, if the backend compiles ahead and the node has no code of the module yet"
    return [
        Phase(process, "isolate", compiler_plan(user, memory, None)),
        Phase(process, "isolate, if a program compiles", compiler_plan(user, memory, _SOME_PROGRAM)),
    ]


def _indented(phases: Iterable[Phase]) -> Iterator[str]:
    for phase in phases:
        if phase.operations:
            yield f"  {phase.name}"
        for operation in phase.operations:
            yield f"    {operation.line()}"
