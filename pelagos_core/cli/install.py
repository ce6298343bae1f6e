"""`pelagos install` and `uninstall`: set up a node for the shim, and undo it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

import pelagos_core
from pelagos_core.cli import (
    containerd,
    containerd_config,
    containerd_entry,
    exit_codes,
    launcher,
    progress,
    replacement,
    voice,
)
from pelagos_core.cli.command import command
from pelagos_core.cli.containerd import Containerd
from pelagos_core.cli.containerd_config import RUNTIME_NAMES
from pelagos_core.cli.formats import json_option
from pelagos_core.cli.replacement import Change
from pelagos_core.errors import AlreadyExists, FailedPrecondition, NotFound, PelagosError

DEFAULT_BIN_DIR = "/usr/local/bin"
_SECONDS = 30
_EXECUTABLE, _READABLE = 0o755, 0o644

_bin_dir = click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BIN_DIR,
    show_default=True,
    help="A directory on containerd's PATH.",
)
_systemd_dir = click.option(
    "--systemd-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also pelagos-zygote.service, in this directory, such as /etc/systemd/system.",
)
_config = click.option(
    "--containerd-config",
    "config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The config of containerd, if it is not in one of the usual places.",
)
_no_containerd = click.option(
    "--no-containerd", is_flag=True, help="Only the launchers: `ctr`, nerdctl and docker need no more."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be changed, as a diff, and change nothing.")
_restart = click.option("--restart", is_flag=True, help="Restart containerd (by systemd) if its config has changed.")
_force = click.option("--force", is_flag=True, help="Replace files that pelagos did not write.")


@command()
@_bin_dir
@_systemd_dir
@_config
@_no_containerd
@_dry_run
@_restart
@_force
@json_option
def install(
    bin_dir: Path,
    systemd_dir: Path | None,
    config: str | None,
    no_containerd: bool,
    dry_run: bool,
    restart: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make this node ready to run WebAssembly containers.

    The containers will use this Python environment. The command writes the launchers containerd-shim-wasm-v1 and
    containerd-shim-pelagos-wasm-v1. It registers the runtime as handler `pelagos` in containerd's config: in a file of
    its own if the config imports a directory, in the template of k3s or RKE2, otherwise between two marks in the config
    itself. containerd checks the config before and after. A second installation changes nothing, or replaces that of an
    earlier version; `pelagos uninstall` removes all of it. Running containers continue, even when containerd restarts.

    Both launchers are the same program; containerd derives the file's name from the runtime's name. It is the
    compiled launcher if the package pelagos-native is installed, otherwise a Python script. With --systemd-dir the
    command also writes a unit that runs the zygote (see `pelagos zygote --help`), which is optional.

    \b
    pelagos install --dry-run
    pelagos install --restart
    pelagos install --no-containerd --bin-dir ~/bin

    Exit codes: 1 if a file cannot be written, or containerd does not know the runtime afterwards.
    """
    work = _Work(dry_run, as_json)
    _look_at_environment(work)
    launchers = _files(bin_dir, systemd_dir, force)
    node = None if no_containerd else _containerd(config, work, "register with: install it and call this again")
    with progress.shown("asking containerd about its config"):
        entry = containerd_entry.to_add(node) if node else None
    if node:
        _look_at_path(node, bin_dir, work)
    entries = [entry] if entry else []
    work.carry_out([*launchers, *entries], *_places(node))
    if node and not dry_run:
        with progress.shown("asking containerd about its new config"):
            _check_entry(node, entries)
    work.tell("installed")
    if systemd_dir and not dry_run:
        work.say(f"to run the zygote: systemctl daemon-reload; systemctl enable --now {launcher.UNIT}")
    if not dry_run:
        with progress.shown("trying the launchers"):
            _try_launchers(bin_dir)
        if node:
            _see_to(node, work, restart, entries)
        else:
            work.say(f"containerd runtime names: {' or '.join(RUNTIME_NAMES)}")
    work.finish("installed")


@command()
@_bin_dir
@_systemd_dir
@_config
@_no_containerd
@_dry_run
@_restart
@json_option
def uninstall(
    bin_dir: Path,
    systemd_dir: Path | None,
    config: str | None,
    no_containerd: bool,
    dry_run: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Remove what `pelagos install` wrote, and no more.

    Later changes of others in the same files stay. Running containers continue, but containerd cannot clean up after
    them without the launchers: remove pods of the runtime first.

    \b
    pelagos uninstall --dry-run
    pelagos uninstall --restart
    """
    work = _Work(dry_run, as_json)
    node = None if no_containerd else _containerd(config, work, "take the runtime away from")
    with progress.shown("asking containerd about its config"):
        entries = containerd_entry.to_remove(node) if node else []
    # The entry is removed first, so that containerd's config never names a runtime without its launcher.
    work.carry_out([*entries, *_own_files(bin_dir, systemd_dir, work)], *_places(node))
    work.tell("removed")
    if node and not dry_run:
        _see_to(node, work, restart, entries, registered=False)
    work.finish("removed")


@dataclass
class _Work:
    """The changes and the output of one command. Lines are printed at once, or all at the end as JSON."""

    dry_run: bool
    as_json: bool
    done: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    answer: dict[str, object] = field(default_factory=dict)

    def say(self, line: str) -> None:
        if not self.as_json:
            click.echo(line)

    def warn(self, line: str) -> None:
        voice.complain(line)

    def carry_out(self, changes: list[Change], *directories: str) -> None:
        """Make the changes, or show them. All are checked before the first one is made."""
        needed = [change for change in changes if change.needed]
        for change in needed:
            replacement.check(change)
        if not self.dry_run:
            # Remove files of a killed command, even if there are no changes.
            for directory in {os.path.dirname(change.path) for change in changes} | set(directories):
                if os.path.isdir(directory):
                    replacement.sweep(directory)
        for change in needed:
            if self.dry_run:
                self.diffs.append(change.diff())
            else:
                _apply(change)
            self.done.append(change.path)
            verb = (
                "removed"
                if change.after is None
                else "changed"
                if change.before and change.mode != _EXECUTABLE
                else "installed"
            )
            self.lines.append(f"{verb} {change.path}")

    def tell(self, what: str) -> None:
        """Print which files were written or removed, or would be."""
        for text in self.diffs:
            self.say(text.rstrip("\n"))
        for line in self.lines if not self.dry_run else ():
            self.say(line)
        if not self.done:
            self.say(f"nothing to be {what}")

    def finish(self, what: str) -> None:
        if self.as_json:
            more: dict[str, object] = {"diff": "".join(self.diffs)} if self.dry_run else {}
            name = f"to_be_{what}" if self.dry_run else what
            click.echo(json.dumps({name: self.done, **more, **self.answer}))


def _places(node: Containerd | None) -> list[str]:
    """The directory in which a directory for the entry may have been created."""
    return [os.path.dirname(node.config)] if node else []


def _apply(change: Change) -> None:
    try:
        replacement.apply(change)
    except OSError as error:
        is_forbidden = isinstance(error, PermissionError) and os.geteuid() != 0
        remedy = ": run it as root" if is_forbidden else ""
        raise FailedPrecondition(f"file {change.path!r} cannot be written: {error.strerror}{remedy}") from None


def _files(bin_dir: Path, systemd_dir: Path | None, force: bool) -> list[Change]:
    """The changes that write the launchers and the unit."""
    files = {bin_dir / name: (launcher.program(), _EXECUTABLE) for name in launcher.NAMES}
    if systemd_dir:
        files[systemd_dir / launcher.UNIT] = (launcher.unit().encode(), _READABLE)
    changes = []
    for path, (content, mode) in files.items():
        if not path.parent.is_dir():
            raise NotFound(f"directory {str(path.parent)!r} does not exist")
        changes.append(_file(os.path.abspath(path), content, mode, force))
    return changes


def _file(path: str, content: bytes, mode: int, force: bool) -> Change:
    try:
        before = replacement.read(path)
        ours = before is None or launcher.is_ours(before)
    except PelagosError:
        before, ours = None, False
    if not ours and not force:
        raise AlreadyExists(f"file {path!r} was not written by pelagos (--force replaces it)")
    return Change(path, before, content, mode, force=force)


def _own_files(bin_dir: Path, systemd_dir: Path | None, work: _Work) -> list[Change]:
    """The changes that remove the existing launchers and the unit."""
    paths = [bin_dir / name for name in launcher.NAMES]
    paths += [systemd_dir / launcher.UNIT] if systemd_dir else []
    changes = []
    for path in (os.path.abspath(each) for each in paths):
        try:
            content = replacement.read(path)
            ours = content is None or launcher.is_ours(content)
        except PelagosError:
            ours = False
        if ours:
            changes.append(Change(path, content, None))
        else:
            work.warn(f"{path} was not written by pelagos, left alone")
    return changes


def _containerd(config: str | None, work: _Work, purpose: str) -> Containerd | None:
    """The containerd whose config must be changed; None, with a message, if there is none.

    purpose: the end of that message.
    """
    if config:
        found = containerd.of_config(config)
        if found is None:
            raise NotFound(f"no containerd is installed that could read {config!r}")
        return found
    found = containerd.find()
    if found is None:
        work.warn(f"no containerd is there to {purpose}")
        return None
    if not found.is_of_the_node:
        work.warn(f"containerd's config {found.config} is not a node's, left alone (--containerd-config changes it)")
        return None
    return found


def _check_entry(node: Containerd, entries: list[Change]) -> None:
    """Undo an entry immediately if containerd does not know the runtime with it."""
    if node.of_rancher:
        return  # k3s or RKE2 generates its config at the next start
    problem = containerd_config.registration(node).problem
    for change in entries if problem else ():
        if change.needed:
            replacement.apply(change.inverse())
    if problem:
        raise FailedPrecondition(f"{problem}; what was written into containerd's config is taken back")


def _look_at_environment(work: _Work) -> None:
    """Warn if another user can replace files that containerd will execute as root."""
    if os.geteuid():
        return
    for path in (os.path.dirname(sys.executable), os.path.dirname(os.path.abspath(pelagos_core.__file__))):
        try:
            replacement.check_directory(path)
        except PelagosError as error:
            work.warn(f"containerd executes as root what others can replace: {error}")
            return


def _look_at_path(node: Containerd, bin_dir: Path, work: _Work) -> None:
    directories = {os.path.realpath(each) for each in node.directories}
    if os.path.realpath(bin_dir) not in directories:
        path = ":".join(node.directories)
        work.warn(f"{bin_dir} is not on containerd's PATH ({path}): use --bin-dir, or containerd finds no launcher")


def _try_launchers(bin_dir: Path) -> None:
    """Execute each launcher once: its directory may be mounted noexec, or its interpreter may be missing."""
    for path in (bin_dir / name for name in launcher.NAMES):
        try:
            done = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=_SECONDS, check=False)
            problem = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
        except OSError as error:
            problem = exit_codes.describe(error)
        except subprocess.TimeoutExpired:
            problem = f"no answer in {_SECONDS} s"
        if problem:
            raise FailedPrecondition(f"the launcher {path} is installed and cannot be executed: {problem}")


def _see_to(node: Containerd, work: _Work, restart: bool, entries: list[Change], *, registered: bool = True) -> None:
    """Restart containerd if requested and necessary, and check that it has loaded the runtime."""
    # For a removed file, the directory's change time is compared.
    paths = [node.config, *(each.path if each.after is not None else os.path.dirname(each.path) for each in entries)]
    stale = any(containerd.is_older_than(node, path) for path in paths)
    restarted = stale and restart
    if restarted:
        with progress.shown("restarting containerd"):
            node, stale = containerd.restart(node), False
        work.say(f"restarted containerd, now process {node.pid}")
    elif stale:
        service = containerd.unit(node)
        work.say(f"containerd has to be restarted{f': systemctl restart {service}' if service else ''}")
    with progress.shown("asking containerd for its handlers"):
        found = containerd_config.registration(node)
    work.answer |= {"containerd": found.version, "handlers": list(found.handlers), "restart_needed": stale}
    problem = "" if not registered or (node.of_rancher and (stale or not node.running)) else found.problem
    if registered and node.running and not stale:
        with progress.shown("waiting for containerd to load the runtime"):
            problem = problem or _loaded_problem(found.address, _SECONDS if restarted else 0)
    if problem:
        raise FailedPrecondition(f"containerd {found.version}: {problem}")
    if registered and not stale:
        work.say(f"containerd {found.version} has the runtime as handler {', '.join(map(repr, found.handlers))}")


def _loaded_problem(address: str, seconds: float) -> str:
    """Why the running containerd has not loaded the runtime; empty if it has.

    seconds: how long to wait, since a new process needs some time.
    """
    deadline = time.monotonic() + seconds
    while True:
        problem = containerd_config.loaded_problem(address)
        if not problem or time.monotonic() > deadline:
            return problem
        time.sleep(0.2)
