"""Checks whether containerd's config registers the runtime, by `containerd config dump`.

containerd merges imports and converts old versions, so the dump is the effective config. There are four
versions (docs/PLUGINS.md, "Version header"): 1 has the table `plugins.cri`; 2, of containerd 1.3 and
later, `io.containerd.grpc.v1.cri`; 3 and 4, of containerd 2, `io.containerd.cri.v1.runtime`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pelagos_core.cli import cri, launcher
from pelagos_core.cli.containerd import Containerd

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUNTIME_NAMES = ("io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1")
HANDLER = "pelagos"
_SECONDS = 20
_SERVER = "io.containerd.server.v1.grpc"
_DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
_OF_CONTAINERD_2 = "io.containerd.cri.v1.runtime"
_TABLES = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: _OF_CONTAINERD_2, 4: _OF_CONTAINERD_2}
_CRI = frozenset(_TABLES.values())


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration of the runtime in containerd's config.

    handlers: the names for a RuntimeClass.
    problem: why there is none; empty if there is one.
    broken: whether containerd refuses the file.
    disabled: whether the CRI is disabled.
    address: the socket of containerd's API.
    """

    version: str
    handlers: tuple[str, ...] = ()
    problem: str = ""
    broken: bool = False
    disabled: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class Dump:
    """The effective config of a file: the table, or the reason for which containerd refuses the file."""

    table: dict[str, Any]
    refused: str = ""


def dump(program: str, config: str) -> Dump:
    """Run `containerd config dump` for a config file. Raises OSError or subprocess.TimeoutExpired."""
    words = [program, "--config", config, "config", "dump"]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return Dump({}, why.removeprefix("containerd: "))
    return Dump(parsed(done.stdout))


def registration(containerd: Containerd) -> Registration:
    """Check the effective config of a containerd. Raises OSError or subprocess.TimeoutExpired."""
    version = version_of(containerd.program)
    written = _read(containerd.config)
    if written is None and not _imports_by_default(version):
        return Registration(version, problem=f"{containerd.config} is not there")
    found = dump(containerd.program, containerd.config)
    if found.refused:
        problem = f"containerd refuses its config: {found.refused}"
        return Registration(version, problem=problem, broken=True)
    address = _address(found.table)
    disabled = _CRI.intersection(map(str, found.table.get("disabled_plugins") or ()))
    if disabled:
        text = f"{containerd.config} has the CRI disabled: take {sorted(disabled)[0]!r} out of disabled_plugins"
        return Registration(version, problem=text, disabled=True, address=address)
    known = kinds(found.table)
    ours = tuple(sorted(name for name, kind in known.items() if is_ours(kind)))
    problem = "" if ours else _why_not(containerd, written, known)
    return Registration(version, ours, problem, address=address)


def _address(table: dict[str, Any]) -> str:
    """The socket of the API. In version 4 of the config, the server is a plugin."""
    for path in (("grpc",), ("plugins", _SERVER)):
        here: Any = table
        for name in path:
            here = here.get(name) if isinstance(here, dict) else None
        if isinstance(here, dict) and here.get("address"):
            return str(here["address"])
    return _DEFAULT_ADDRESS


def loaded_problem(address: str) -> str:
    """Why the CRI of a running containerd has not loaded the runtime, by a call of the CRI; empty if it has."""
    loaded, problem = cri.runtimes(address)
    if problem or any(is_ours(kind) for kind in loaded.values()):
        return problem
    return "it runs without the runtime: restart it"


def version_of(program: str) -> str:
    """The version of a containerd, such as `1.7.24`."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    return next(iter(re.findall(r"\d+\.\d+\.\d+\S*", done.stdout)), "of unknown version")


def newest_table(version: str) -> int:
    """The version of a new config for a containerd."""
    major = version.partition(".")[0]
    return 3 if major.isdecimal() and int(major) > 1 else 2


def _imports_by_default(version: str) -> bool:
    """Whether a containerd without a config file imports other files by default."""
    return newest_table(version) > 2  # noqa: PLR2004 (the version of the config of containerd 2)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def parsed(text: str) -> dict[str, Any]:
    """The table of a config; empty if the text is not TOML."""
    try:
        return tomllib.loads(text)
    except ValueError:
        return {}


def runtimes(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The handlers of the CRI, each with its table."""
    found: dict[str, dict[str, Any]] = {}
    for plugin in _CRI:
        here: Any = table
        for name in ("plugins", plugin, "containerd", "runtimes"):
            here = here.get(name) if isinstance(here, dict) else None
        for name, runtime in (here if isinstance(here, dict) else {}).items():
            found[str(name)] = runtime if isinstance(runtime, dict) else {}
    return found


def kinds(table: dict[str, Any]) -> dict[str, str]:
    """The handlers of the CRI, each with its runtime type."""
    return {name: str(runtime.get("runtime_type", "")) for name, runtime in runtimes(table).items()}


def is_ours(kind: str) -> bool:
    """Whether a runtime type is ours: it is a name, from which containerd derives the file's name, or a file's path."""
    return kind in RUNTIME_NAMES or (kind.startswith("/") and os.path.basename(kind) in launcher.NAMES)


def _why_not(containerd: Containerd, written: str | None, known: dict[str, str]) -> str:
    wrong = next((name for name, kind in known.items() if "pelagos" in name + kind), "")
    if wrong:
        return f"{containerd.config}: runtime {wrong!r} has runtime_type {known[wrong]!r}, which is not this one"
    if written is None:
        return f"{containerd.config} is not there"
    if not any(name in written for name in RUNTIME_NAMES):
        return f"{containerd.config} does not name the runtime"
    if "version" not in parsed(written):
        return f"{containerd.config} names the runtime, but has no line `version`: it is taken for version 1"
    return f"{containerd.config} names the runtime, but in a table that containerd does not read"


def entry(version: int, others: Mapping[str, Mapping[str, object]]) -> str:
    """The lines that register the runtime, for a version of the config.

    others: further handlers to write, with their tables.
    """
    where = f'plugins."{_TABLES[version]}".containerd.runtimes'
    ours = {
        "runtime_type": RUNTIME_NAMES[0],
        "pod_annotations": ["io.pelagos.wasm.*"],
        "container_annotations": ["io.pelagos.wasm.*"],
    }
    runtimes = {**others, HANDLER: ours}
    return "".join(line for name, table in runtimes.items() for line in _written(f"{where}.{name}", table, ""))


def _written(name: str, table: Mapping[str, object], indent: str) -> Iterator[str]:
    """A table in TOML. Values are texts, numbers, lists of texts or tables; JSON texts are valid in TOML."""
    yield f"{indent}[{name}]\n"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{indent}  {key} = {json.dumps(value)}\n"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _written(f"{name}.{key}", value, f"{indent}  ")
