"""Describes the machine of a run: figures of two machines or two kernels cannot be compared."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from tests.support import provision

_PACKAGES = ("pelagos-core", "pelagos-wasmtime", "pelagos-wasmedge", "pelagos-wasmer", "wasmtime", "protobuf", "pluggy")
_ROOT = Path(__file__).parent.parent


def describe() -> dict[str, object]:
    """The machine, the versions, the revision and the date."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "cgroups": 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "python": platform.python_version(),
        "versions": {**_packages(), **_peers()},
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _peers() -> dict[str, str]:
    """The versions that containerd and runc print."""
    unpacked = provision.containerd_directory()
    programs = {"containerd": unpacked / "usr/bin/containerd", "runc": unpacked / "usr/sbin/runc"}
    return {name: _said([str(path), "--version"], r"\d+\.\d+\.\d+\S*") for name, path in programs.items()}


def _revision() -> str:
    """The commit, with a plus sign if the tree has changes."""
    commit = _said(["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"], r"\S+")
    changed = _said(["git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"], r"\S")
    return f"{commit}+" if changed else commit


def _cpu() -> str:
    match = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.machine()


def _said(command: list[str], pattern: str) -> str:
    """The part of a command's output that matches; empty if none does, or the command is missing."""
    try:
        match = re.search(pattern, subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    except FileNotFoundError:
        return ""
    return match[0] if match else ""
