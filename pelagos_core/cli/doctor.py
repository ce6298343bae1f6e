"""`pelagos doctor`: checks whether this node can run containers, and says how to solve each problem."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from pelagos_core.backends.installed import load_waiting
from pelagos_core.backends.registry import Backend
from pelagos_core.cache.store import Store
from pelagos_core.cgroups.hierarchies import DEFAULT_PARENT, hierarchies
from pelagos_core.cli import (
    containerd,
    containerd_config,
    containerd_entry,
    exit_codes,
    launcher,
    node_page,
    packages,
    progress,
    replacement,
    voice,
)
from pelagos_core.cli.command import command
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.install import DEFAULT_BIN_DIR
from pelagos_core.cli.table import print_table
from pelagos_core.cli.workspace import NAMESPACE
from pelagos_core.config import node_file
from pelagos_core.daemon import runs
from pelagos_core.errors import PelagosError
from pelagos_core.isolation import libseccomp
from pelagos_core.launch import immortal

OK, WARNING, FAILED = "ok", "warning", "FAILED"

_KERNEL = (5, 12)  # the first with mount_setattr(2)
_CONTROLLERS = ("cpu", "memory", "pids")
_SECONDS = 60

# A module whose _start returns at once: the preamble, a type () -> (), a function of it, its
# export, its body (WebAssembly core specification, Binary Format).
_IDLE_MODULE = b"".join(
    (b"\0asm\1\0\0\0", b"\1\4\1\x60\0\0", b"\3\2\1\0", b"\7\x0a\1\6_start\0\0", b"\x0a\4\1\2\0\x0b")
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its state, what it has found, and the remedy."""

    state: str
    found: str
    remedy: str = ""


@command()
@click.option("--strict", is_flag=True, help="Exit with 1 even if there are only warnings.")
@json_option
def doctor(strict: bool, as_json: bool) -> None:
    """Check whether this node can run WebAssembly containers.

    It checks the kernel, Python, control groups, seccomp, the node's config, the backends, the cache, the
    launchers on containerd's PATH, the registration in containerd, and remains of `pelagos run`; and it runs
    a container. Each problem is printed with its remedy. A warning names something that some containers need.

    With --json it prints a list of objects, each with `check`, `state` (ok, warning or failed), `found` and `remedy`.
    The names of the checks do not change.

    \b
    pelagos doctor
    pelagos doctor --strict --json

    Exit codes: 0 if containers can run, 1 if anything has failed.
    """
    logging.getLogger("pelagos_core").addHandler(logging.NullHandler())
    findings = {}
    with progress.shown("looking") as say:
        for name, check in CHECKS.items():
            say(f"looking at: {name}")
            findings[name] = _examined(check)
    if as_json:
        rows = [
            {"check": name, "state": it.state.lower(), "found": it.found, "remedy": it.remedy}
            for name, it in findings.items()
        ]
        click.echo(json.dumps(rows))
    else:
        print_table(["CHECK", "STATE", "FOUND"], [[name, it.state, it.found] for name, it in findings.items()])
        for name, it in findings.items():
            if it.remedy:
                voice.complain(f"{name}: {it.remedy}")
    bad = {FAILED, WARNING} if strict else {FAILED}
    sys.exit(exit_codes.FAULT if any(it.state in bad for it in findings.values()) else exit_codes.OK)


def _examined(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except PelagosError as error:
        return Finding(FAILED, str(error))
    except OSError as error:
        return Finding(FAILED, exit_codes.describe(error))
    except subprocess.TimeoutExpired:
        return Finding(FAILED, f"no answer in {_SECONDS} s")


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers < _KERNEL:
        return Finding(FAILED, release, "Linux 5.12 or newer is needed")
    return Finding(OK, f"{release}, {platform.machine()}")


def _python() -> Finding:
    version = platform.python_version()
    return Finding(OK, version if immortal.supported() else f"{version}; with 3.12 or 3.13 pods share more memory")


def _cgroups() -> Finding:
    found = hierarchies()
    if not found:
        return Finding(WARNING, "none is mounted", "without control groups containers have no limits")
    unified = all(each.unified for each in found)
    if unified:
        text = Path(found[0].mount_point, "cgroup.controllers").read_text(encoding="ascii")
        controllers = set(text.split())
    else:
        controllers = {name for each in found for name in each.controllers}
    version = "v2" if unified else "v1"
    missing = [name for name in _CONTROLLERS if name not in controllers]
    if missing:
        text = ", ".join(missing)
        return Finding(WARNING, f"{version}, without {text}", f"limits of {text} are refused on this host")
    if not all(os.access(each.mount_point, os.W_OK) for each in found):
        return Finding(WARNING, f"{version}, not writable", "run it as root: containers of others have no limits")
    # The format of a container's cgroup path selects the driver.
    driver = "systemd or cgroupfs" if os.path.isdir("/run/systemd/system") else "cgroupfs"
    return Finding(OK, f"{version}, driver {driver}")


def _seccomp() -> Finding:
    return Finding(OK, f"libseccomp {libseccomp.version()}")


def _config() -> Finding:
    path = node_file.node_path()
    node_file.load_node()
    return Finding(OK, path if os.path.exists(path) else f"{path} is not there: the defaults")


def _backends() -> Finding:
    node = load_waiting()
    usable = [each for each in node.backends.installed if not each.description.problem]
    absent = [f"{each.name}: {each.description.problem}" for each in node.backends.installed if each not in usable]
    faults = [str(failure) for failure in node.backends.failures]
    faults += [f"{each.name}: no native part: {each.native_problem}" for each in usable if each.native_problem]
    remedy = "`pelagos backends` says how to fix each" if absent or faults else ""
    if not usable:
        return Finding(
            FAILED,
            "; ".join([*absent, *faults]) or "none is installed",
            remedy or f"{packages.adding('PACKAGE')}: the README lists them",
        )
    engines = ", ".join(_engine(each) for each in usable)
    lacks = [f"{each.name} lacks {each.description.lacks}" for each in usable if each.description.lacks]
    # A missing engine is not a problem if the node has another one: packages contain all backends.
    return Finding(WARNING if faults else OK, "; ".join([engines, *faults, *absent, *lacks]), remedy)


def _engine(backend: Backend) -> str:
    """A backend's engine, and the version of each form."""
    said = backend.description
    program = f" (program {said.program})" if said.program else ""
    return f"{said.engine or backend.name} {said.version}".strip() + program


def _cache() -> Finding:
    settings = node_file.load_node().cache
    with Store(settings.directory) as store:
        entries = list(store.entries())
    free = shutil.disk_usage(settings.directory).free
    found = f"{settings.directory}: {len(entries)} modules, {free >> 20} MiB free"
    if free < settings.size:
        return Finding(WARNING, found, f"less than [cache] size ({settings.size >> 20} MiB) is free")
    return Finding(OK, found)


def _launchers() -> Finding:
    node = containerd.find()
    own = [*os.environ.get("PATH", "").split(":"), DEFAULT_BIN_DIR]
    # A running containerd searches only its own PATH.
    directories = dict.fromkeys(node.directories if node and node.running and node.is_of_the_node else own)
    whose = "containerd's" if node and node.running and node.is_of_the_node else "the"
    places = {name: [Path(each, name) for each in directories if Path(each, name).is_file()] for name in launcher.NAMES}
    missing = [name for name, paths in places.items() if not paths]
    if missing:
        return Finding(WARNING, f"{', '.join(missing)} not on {whose} PATH", "`pelagos install` writes them")
    first = [paths[0] for paths in places.values()]
    contents = {path: path.read_bytes() for path in first}
    foreign = [f"{path} ({launcher.kind(it)})" for path, it in contents.items() if it != launcher.program()]
    if foreign:
        found = f"{', '.join(foreign)}: of another environment or version"
        return Finding(WARNING, found, "`pelagos install` writes them again")
    found = ", ".join(f"{path} ({launcher.kind(it)})" for path, it in contents.items())
    for path in first:
        replacement.check_directory(str(path.parent))
    return Finding(
        OK, found, "" if launcher.compiled() else "with the package pelagos-native `start` takes half of the time"
    )


def _containerd() -> Finding:
    node = containerd.find()
    if node is None:
        return Finding(WARNING, "not on the PATH", "`pelagos run` works without it; for Kubernetes install containerd")
    found = containerd_config.registration(node)
    if found.broken:
        return Finding(FAILED, f"{found.version}: {found.problem}", "correct the file, then call `pelagos install`")
    if found.problem:
        return Finding(WARNING, f"{found.version}: {found.problem}", _to_register(node, found))
    return _registered(node, found)


def _registered(node: containerd.Containerd, found: containerd_config.Registration) -> Finding:
    """The finding for a containerd whose config contains the runtime."""
    text = f"{found.version}, with the runtime as handler {', '.join(map(repr, found.handlers))}"
    if not node.running:
        return Finding(WARNING, f"{text}, not running", "start it: `systemctl start containerd`")
    newer = [path for path in containerd_entry.files(node) if containerd.is_older_than(node, path)]
    if newer:
        restart = f"`systemctl restart {containerd.unit(node) or 'containerd'}`: containers go on meanwhile"
        return Finding(WARNING, f"{text}, but started before {newer[0]} was changed", restart)
    problem = containerd_config.loaded_problem(found.address)
    if problem:
        return Finding(FAILED, f"{found.version}: {problem}", "its log says why: `journalctl -u containerd`")
    return Finding(OK, text)


def _to_register(node: containerd.Containerd, found: containerd_config.Registration) -> str:
    where = "" if node.is_of_the_node else f" --containerd-config {node.config}"
    before = "then " if found.disabled else ""
    return f"for Kubernetes {before}`pelagos install{where}` registers it; `ctr` and docker need nothing"


def _left_over() -> Finding:
    """Remains of `pelagos run`: of a command that was killed together with its shim, or of an earlier version."""
    uid = os.geteuid()
    shims, groups, directories = _shims(), _groups(), runs.abandoned(uid)
    known = [run_id for _, run_id in shims]
    older = [path for path in _older_directories() if not any(f"/{run_id}-" in path for run_id in known)]
    alive = {run.id for run in runs.listed(uid)}  # last, so that a run that starts meanwhile is not reported
    pids = [pid for pid, run_id in shims if run_id not in alive]
    names = [name for name in groups if not name.startswith(tuple(f"{run_id}-" for run_id in alive))]
    if not directories and not older and not pids and not names:
        return Finding(OK, f"nothing; {len(alive)} running" if alive else "nothing")
    found = [f"directories {' '.join(directories + older)}"] if directories or older else []
    found += [f"shims {' '.join(pids)}"] if pids else []
    found += [f"control groups {' '.join(names)}"] if names else []
    remedies = [f"kill {' '.join(pids)}"] if pids else []
    remedies += [f"the next `pelagos run` removes {' '.join(directories)}"] if directories else []
    remedies += [f"rm -r {' '.join(older)}"] if older else []
    remedies += [f"find /sys/fs/cgroup -depth -type d -name '{name}' -exec rmdir {{}} +" for name in names]
    return Finding(WARNING, "of `pelagos run`: " + "; ".join(found), "\n  ".join(remedies))


def _shims() -> list[tuple[str, str]]:
    """The shims of this user's `pelagos run`: process id and container id. Those of containerd have its namespaces."""
    found = [each for each in node_page.daemons() if each.namespace == NAMESPACE and each.group.startswith(runs.PREFIX)]
    return [(str(each.pid), each.group) for each in found]


def _older_directories() -> list[str]:
    """Directories of runs of the first versions, at the current user's place."""
    pattern = f"{runs.PREFIX}{'[0-9a-f]' * 8}-*"
    found = [path for place in ("/run/pelagos", tempfile.gettempdir()) for path in Path(place).glob(pattern)]
    return sorted(str(path) for path in found if path.is_dir() and path.stat().st_uid == os.geteuid())


def _groups() -> list[str]:
    """The names of the control groups of any `pelagos run`."""
    places = [Path(f"{each.mount_point}{DEFAULT_PARENT}") for each in hierarchies()]
    return sorted({path.name for place in places for path in place.glob(f"{runs.PREFIX}*")})


def _container() -> Finding:
    with tempfile.TemporaryDirectory(prefix="pelagos-doctor-") as directory:
        module = Path(directory, "doctor.wasm")
        module.write_bytes(_IDLE_MODULE)
        began = time.monotonic()
        words = [sys.executable, "-m", "pelagos_core", "run", str(module)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        said = done.stderr.strip().removeprefix("pelagos: run: ") or f"exit code {done.returncode}"
        return Finding(FAILED, said)
    return Finding(OK, f"ran and ended in {time.monotonic() - began:.2f} s")


CHECKS: dict[str, Callable[[], Finding]] = {
    "kernel": _kernel,
    "python": _python,
    "control groups": _cgroups,
    "seccomp": _seccomp,
    "config": _config,
    "backends": _backends,
    "cache": _cache,
    "launchers": _launchers,
    "containerd": _containerd,
    "left over": _left_over,
    "a container": _container,
}
