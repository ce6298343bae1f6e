"""A short-lived process that asks containerd for an image, and copies a module out of its store.

A fork of the daemon: the daemon itself loads no HTTP/2, waits for nothing, and reads neither a manifest nor a module.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pelagos_core import reasons
from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import Internal, InvalidArgument, NotFound, PelagosError, from_fields, to_fields
from pelagos_core.images import artifact
from pelagos_core.images.artifact import Descriptor, Module
from pelagos_core.images.node_platform import Platform
from pelagos_core.linux import child, forked
from pelagos_core.linux.child import Child
from pelagos_core.native.process_name import rename
from pelagos_core.plugin.kind import MODULE_MAGIC

if TYPE_CHECKING:
    from pelagos_core.images.image_store import ImageStore

SILENCE_SECONDS = 10.0
"""How long containerd may be silent in a call."""

_MAX_ANSWER = 64 << 10
_MAX_TEXT = 4 << 10
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Source(NamedTuple):
    """A container of a containerd. address: of the socket for its API."""

    address: str
    namespace: str
    container: str


@dataclass(frozen=True, slots=True)
class Reader:
    """A forked reader. In its parent, which reads one answer once `socket` is readable, and closes it."""

    child: Child
    socket: socket.socket

    def answer(self) -> tuple[Any, int]:
        """What it has found, and the descriptor that came along, or -1. Raises the PelagosError that it reports."""
        data, fds, _, _ = socket.recv_fds(self.socket, _MAX_ANSWER, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise Internal("the process that reads the image has ended without an answer", reasons.IMAGE)
        code, text, reason, found = json.loads(data)
        if code:
            raise from_fields(code, text, reason or reasons.IMAGE)
        return found, fds[0] if fds else -1

    def close(self) -> None:
        """Kill and reap the process unless that is done, and close the socket."""
        self.socket.close()
        self.child.close()


def preload() -> None:
    """Import what a reader needs, in the process of which all daemons are forks: it takes longer than the reading."""
    with contextlib.suppress(ImportError):  # without h2 a reader fails, and no other container
        from pelagos_core.images import image_store  # noqa: F401 (for its side effect)


def find(source: Source, path: str, *, only: bool, image: Descriptor | None = None) -> Reader:
    """Fork a reader that finds the module which a path names: see `artifact.choose`.

    image: what the name of the container's image meant for its first process; None to ask what it means now.
    Its answer is the fields of that `Descriptor` and of a `Module`, or None if the container has no image, or its
    image no such module.
    """

    def work() -> tuple[object, int]:
        from pelagos_core.images.image_store import ImageStore  # here: of no other use in a daemon without a zygote

        try:
            with ImageStore.connect(source.address, source.namespace, SILENCE_SECONDS) as channel:
                store = ImageStore(channel)
                try:
                    target = image or _target(store, source.container)
                    if target is None:
                        return None, -1
                    found = store.modules(target, Platform.of_this_machine())
                except NotFound as error:
                    if error.reason:
                        raise
                    return None, -1  # removed since the container was made, as is the container of `nerdctl run`
                chosen = artifact.choose(found, path, only=only)
                if chosen is None:
                    return None, -1
                store.check(chosen)
                return (target, chosen), -1
        except (FileNotFoundError, ConnectionRefusedError):
            return None, -1  # no containerd: the shim is used by `pelagos run`, or by a test

    return _forked(work)


def fetch(source: Source, module: Module, cgroup: Cgroup, wait: Callable[[], object]) -> Reader:
    """Fork a reader that copies a module to a sealed file in memory, whose descriptor comes with its answer.

    cgroup: whose memory that is. wait: called in the reader before it takes any. The reader stays until it is closed,
    with the group and all that `wait` has taken: the file is to be closed before.
    """

    def work() -> tuple[object, int]:
        from pelagos_core.images.image_store import ImageStore

        with contextlib.suppress(PelagosError):  # a daemon of another pid namespace has taken the group for a left one
            joining.join(cgroup)
        wait()
        memory = os.memfd_create("module", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with (
            ImageStore.connect(source.address, source.namespace, SILENCE_SECONDS) as channel,
            open(memory, "wb", closefd=False) as file,  # buffered: write(2) may take less than it is given
        ):
            ImageStore(channel).copy(module.digest, module.size, file.write)
        if os.pread(memory, len(MODULE_MAGIC), 0) != MODULE_MAGIC:
            text = f"layer sha256:{module.digest} is no WebAssembly, though its media type says so"
            raise InvalidArgument(text, reasons.IMAGE)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        return None, memory

    return _forked(work)


def _target(store: ImageStore, container: str) -> Descriptor | None:
    name = store.image_of(container)
    return store.target_of(name) if name else None


def _forked(work: Callable[[], tuple[object, int]]) -> Reader:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        return Reader(Child.watched(child.fork(lambda: _serve(work, theirs)).pid), ours)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()


def _serve(work: Callable[[], tuple[object, int]], parent: socket.socket) -> None:
    """Send one answer. In the child."""
    rename("pelagos-image")
    forked.restore_signals()
    forked.end_with_parent(parent.fileno())
    forked.close_all_but(parent.fileno())
    try:
        found, file = work()
        socket.send_fds(parent, [json.dumps([0, "", "", found]).encode()], [file] if file >= 0 else [])
        if file >= 0:
            os.close(file)
            parent.recv(1)  # until its end: the parent has closed the file
    except BaseException as error:  # noqa: BLE001 (every error is reported to the parent)
        code, text, reason = to_fields(error)
        parent.send(json.dumps([code, text[:_MAX_TEXT], reason, None]).encode())
