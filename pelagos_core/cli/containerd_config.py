"""Whether containerd's CRI knows the runtime: containerd itself is asked, by `containerd config dump`.

It merges imports and translates old versions, so what it prints is what holds. Its config has three
versions (docs/PLUGINS.md, "Version header"): 1 has the table `plugins.cri`; 2, of containerd 1.3 and
later, `io.containerd.grpc.v1.cri`; 3, of containerd 2, `io.containerd.cri.v1.runtime`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from pelagos_core.cli import launcher
from pelagos_core.cli.install import RUNTIME_NAMES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CONFIG = "/etc/containerd/config.toml"
_SECONDS = 20
_TABLES = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
_CRI = {"cri", *_TABLES.values()}
_LINES = """\
[plugins."{table}".containerd.runtimes.pelagos]
  runtime_type = "{type}"
  pod_annotations = ["io.pelagos.wasm.*"]
  container_annotations = ["io.pelagos.wasm.*"]"""


@dataclass(frozen=True, slots=True)
class Containerd:
    """A containerd of this host: its program, its config file, and whether it runs."""

    program: str
    config: str = DEFAULT_CONFIG
    running: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """What containerd's config says of the runtime.

    handlers: the names for a RuntimeClass. problem: why there is none, empty if there is one.
    lines: what to write into the config file then. broken: containerd refuses the file.
    """

    version: str
    handlers: tuple[str, ...] = ()
    problem: str = ""
    lines: str = ""
    broken: bool = False


def find() -> Containerd | None:
    """The containerd that runs, else the one on the PATH, else None."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found = _process(pid)
        if found:
            return found
    program = shutil.which("containerd")
    return Containerd(program) if program else None


def _process(pid: str) -> Containerd | None:
    try:
        # One of another user, or in a container, is not to be executed: its program may be anything.
        if os.stat(f"/proc/{pid}").st_uid not in (0, os.geteuid()):
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
        if os.path.basename(words[0]) != "containerd":
            return None
        if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            return None
        # proc(5): so it ends if a newer one has been installed in its place.
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        return Containerd(program, _config_of(words, f"/proc/{pid}/cwd"), running=True)
    except OSError:
        return None


def _config_of(words: list[str], directory: str) -> str:
    """The config file that a command line names."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config", "-config"):
            path = value if equals else words[index + 1] if index + 1 < len(words) else ""
            return path if os.path.isabs(path) else os.path.join(os.path.realpath(directory), path)
    return DEFAULT_CONFIG


def registration(containerd: Containerd) -> Registration:
    """Ask containerd what its config comes to. Raises OSError or subprocess.TimeoutExpired."""
    version = _version(containerd.program)
    written = _read(containerd.config)
    lines = _lines(version, written)
    if written is None:
        return Registration(version, problem=f"{containerd.config} is not there", lines=lines)
    words = [containerd.program, "--config", containerd.config, "config", "dump"]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1].removeprefix("containerd: ")
        return Registration(version, problem=f"containerd refuses its config: {why}", lines=lines, broken=True)
    table = _parsed(done.stdout)
    disabled = _CRI.intersection(map(str, table.get("disabled_plugins") or ()))
    if disabled:
        text = f"{containerd.config} has the CRI disabled: take {sorted(disabled)[0]!r} out of disabled_plugins"
        return Registration(version, problem=text)
    runtimes = _runtimes(table)
    ours = tuple(sorted(name for name, kind in runtimes.items() if _is_ours(kind)))
    return Registration(version, ours, "" if ours else _why_not(containerd, written, runtimes), "" if ours else lines)


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    return next(iter(re.findall(r"\d+\.\d+\.\d+\S*", done.stdout)), "of unknown version")


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError:
        return {}


def _runtimes(table: dict[str, Any]) -> dict[str, str]:
    """The handlers of the CRI, each with its runtime type."""
    found: dict[str, str] = {}
    for plugin in _TABLES.values():
        here: Any = table
        for name in ("plugins", plugin, "containerd", "runtimes"):
            here = here.get(name) if isinstance(here, dict) else None
        for name, runtime in (here if isinstance(here, dict) else {}).items():
            found[str(name)] = str(runtime.get("runtime_type", "")) if isinstance(runtime, dict) else ""
    return found


def _is_ours(kind: str) -> bool:
    """A runtime type is a name, from which containerd derives the file's, or the file's path."""
    return kind in RUNTIME_NAMES or (kind.startswith("/") and os.path.basename(kind) in launcher.NAMES)


def _why_not(containerd: Containerd, written: str, runtimes: dict[str, str]) -> str:
    wrong = next((name for name, kind in runtimes.items() if "pelagos" in name + kind), "")
    if wrong:
        return f"{containerd.config}: runtime {wrong!r} has runtime_type {runtimes[wrong]!r}, which is not this one"
    if not any(name in written for name in RUNTIME_NAMES):
        return f"{containerd.config} does not name the runtime"
    if "version" not in _parsed(written):
        return f"{containerd.config} names the runtime, but has no line `version`: it is taken for version 1"
    return f"{containerd.config} names the runtime, but in a table that containerd does not read"


def _lines(version: str, written: str | None) -> str:
    """What to write: in the file's own version, where containerd knows that."""
    major = version.partition(".")[0]
    newest = max(_TABLES) if major.isdecimal() and int(major) > 1 else min(_TABLES)
    has = _parsed(written or "").get("version")
    used = has if has in _TABLES and has <= newest else newest
    lines = _LINES.format(table=_TABLES[used], type=RUNTIME_NAMES[0])
    return lines if has == used else f"version = {used}\n{lines}"
