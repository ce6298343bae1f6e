"""Runs a container in the role of containerd: creates a bundle and FIFOs, starts the shim, calls its task API."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import click

from pelagos_core.cli import exit_codes, module_file, voice
from pelagos_core.cli.mount_option import Mount
from pelagos_core.cli.progress import Progress
from pelagos_core.cli.signals import Ended, Signals
from pelagos_core.cli.waiting import Waiting
from pelagos_core.cli.workspace import DaemonLog, Workspace, clean_up
from pelagos_core.config import size
from pelagos_core.daemon import runs

if TYPE_CHECKING:
    from pelagos_core.cli.ports import Port, Publisher

_DEV = Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=64k"))


class Container(NamedTuple):
    """What to run. Either `rootfs` (a directory) or `module` (an open file and its name) is given.

    memory: the limit in bytes, for what is said when it is too low; None without one.
    user: its user and group ids. hostname: in its UTS namespace, empty for the host's. readonly: its root.
    ports: that are published. has_host_network: whether it has the host's network, else one of its own.
    """

    rootfs: str | None
    module: tuple[int, str] | None
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    mounts: tuple[Mount, ...]
    annotations: dict[str, str]
    resources: Mapping[str, object] = MappingProxyType({})
    memory: int | None = None
    terminal: bool = False
    user: tuple[int, int] = (0, 0)
    hostname: str = ""
    readonly: bool = False
    ports: tuple[Port, ...] = ()
    has_host_network: bool = False

    def run(self, uid: int, run: runs.Run, *, interactive: bool = False) -> int:
        """Run it to its end through a shim of its own; return its exit code.

        uid: of the user, outside of a user namespace that was made for this. run: its record. A detached one is left
        running: its id is printed, and 0 is returned once it has started.
        A deadly signal ends it at any moment: before there is a program by itself, then as the program takes it.
        Raises PelagosError or OSError if it could not be run.
        """
        with contextlib.ExitStack() as stack:
            # First, because its process is forked: before there are threads and descriptors that it would inherit.
            publisher = stack.enter_context(self._publisher()) if self.ports else None
            waiting = stack.enter_context(Waiting())
            signals = Signals(waiting)  # before anything is created, so that a signal leaves nothing behind
            try:
                return self._run(uid, run, waiting, signals, publisher, interactive=interactive)
            except Ended as ended:
                return exit_codes.of_signal(ended.signum)

    def _run(
        self,
        uid: int,
        run: runs.Run,
        waiting: Waiting,
        signals: Signals,
        publisher: Publisher | None,
        *,
        interactive: bool,
    ) -> int:
        for directory in runs.abandoned(uid):
            clean_up(directory)
        with Workspace(runs.usable_place(uid), run, waiting) as workspace:
            workspace.prepare()
            what = run.command[0]
            with contextlib.closing(Progress(f"loading the engines for {what}").keep_up(waiting)) as progress:
                log = DaemonLog(workspace.bundle, what, progress, waiting)
                try:
                    workspace.start_shim()
                    self._write_bundle(workspace.bundle, waiting)
                    from pelagos_core.cli.session import Session  # takes 20 ms, in which the shim starts

                    session = Session(workspace, waiting, signals, publisher, tty=self.terminal)
                    progress.doing = f"preparing {what}"
                    if run.is_detached:
                        session.detach(self.layers)
                        progress.close()
                        click.echo(run.id)
                        return exit_codes.OK
                    return session.run(self.layers, progress.close, interactive=interactive)
                finally:
                    progress.close()
                    log.close()
                    if self.memory and log.is_out_of_memory:
                        voice.complain(f"out of memory: its limit is {size.describe(self.memory)}; --memory raises it")

    def _publisher(self) -> Publisher:
        from pelagos_core.cli.ports import Publisher  # here: most runs publish nothing

        return Publisher(self.ports)

    def _environment(self) -> tuple[str, ...]:
        if not self.terminal or any(variable.startswith("TERM=") for variable in self.env):
            return self.env
        return (f"TERM={os.environ.get('TERM', 'xterm')}", *self.env)

    @property
    def layers(self) -> tuple[Mount, ...]:
        """The mounts that create the root file system; empty if it is in the bundle."""
        return (Mount("/", "bind", self.rootfs, ("rbind", "rw")),) if self.rootfs is not None else ()

    def _own_mounts(self) -> tuple[Mount, ...]:
        """A /dev, like those of ctr and docker, unless its mount point would be created in the user's files."""
        return (_DEV,) if self.rootfs is None or os.path.isdir(os.path.join(self.rootfs, "dev")) else ()

    @property
    def _namespaces(self) -> tuple[str, ...]:
        return ("pid", "ipc", "uts", "mount", *(() if self.has_host_network else ("network",)))

    def config(self) -> dict[str, object]:
        """Its config.json."""
        return {
            "ociVersion": "1.1.0",
            "process": {
                "args": self.args,
                "env": self._environment(),
                "cwd": self.cwd,
                "user": dict(zip(("uid", "gid"), self.user, strict=True)),
                "terminal": self.terminal,
            },
            "root": {"path": "rootfs", "readonly": self.readonly},
            **({"hostname": self.hostname} if self.hostname else {}),
            "mounts": [mount._asdict() for mount in (*self._own_mounts(), *self.mounts)],
            "annotations": self.annotations,
            "linux": {
                "namespaces": [{"type": kind} for kind in self._namespaces],
                "resources": self.resources,
                # As in docker: in its own network, the program may listen on port 80 as any user.
                **({"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}} if self.ports else {}),
            },
        }

    def _write_bundle(self, bundle: str, waiting: Waiting) -> None:
        rootfs = os.path.join(bundle, "rootfs")
        os.mkdir(rootfs)
        if self.module is not None:
            file, name = self.module
            module_file.copy(file, os.path.join(rootfs, name), f"module {name!r}", waiting.look)
            self._write_names(os.path.join(rootfs, "etc"))
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as config:
            config.write(json.dumps(self.config()))  # by the encoder in C, which `dump` does not use

    def _write_names(self, etc: str) -> None:
        """Write the files with which names are resolved, as docker does, for a module that may use a network."""
        if not (self.ports or self.has_host_network):
            return
        os.mkdir(etc)
        with open(os.path.join(etc, "hosts"), "w", encoding="ascii") as hosts:
            hosts.write("127.0.0.1 localhost\n::1 localhost\n")
        if self.has_host_network:
            import shutil  # here: it is large, and most runs have no use for it

            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile("/etc/resolv.conf", os.path.join(etc, "resolv.conf"))
