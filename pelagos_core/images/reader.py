"""A short-lived process that reads an image from containerd, and copies a module from its store.

The daemon forks it, so that the daemon itself needs no HTTP/2, does not block, and parses no manifest and no module.
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
"""Seconds to wait for the next bytes of an answer of containerd."""

_MAX_ANSWER = 64 << 10
_MAX_TEXT = 4 << 10
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Source(NamedTuple):
    """A container in containerd. address: the path of the socket of containerd's API."""

    address: str
    namespace: str
    container: str


@dataclass(frozen=True, slots=True)
class Reader:
    """A forked reader, as its parent sees it. The parent reads one answer when `socket` is readable, then closes it."""

    child: Child
    socket: socket.socket

    def answer(self) -> tuple[Any, int]:
        """Read the answer: the result and the descriptor that was sent with it, or -1. Raises the reported error."""
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
    """Import the modules of a reader in the zygote: importing takes longer than reading."""
    with contextlib.suppress(ImportError):  # without h2 only readers fail
        from pelagos_core.images import image_store  # noqa: F401 (for its side effect)


def find(source: Source, path: str, *, only: bool, image: Descriptor | None = None) -> Reader:
    """Fork a reader that finds the module that a path names, see `artifact.choose`.

    image: the descriptor that was used for the container's first process; None to look the image's name up now.
    The answer is the fields of the image's `Descriptor` and of a `Module`; None if the container has no image, or the
    image does not have the module.
    """

    def work() -> tuple[object, int]:
        from pelagos_core.images.image_store import ImageStore  # here: only a reader needs it

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
                    return None, -1  # the image or container was removed, as `nerdctl run --rm` does
                chosen = artifact.choose(found, path, only=only)
                if chosen is None:
                    return None, -1
                store.check(chosen)
                return (target, chosen), -1
        except (FileNotFoundError, ConnectionRefusedError):
            return None, -1  # no containerd: `pelagos run` or a test uses the shim

    return _forked(work)


def fetch(source: Source, module: Module, cgroup: Cgroup, wait: Callable[[], object]) -> Reader:
    """Fork a reader that copies a module to a sealed memory file and sends its descriptor with the answer.

    cgroup: the control group to which the memory is charged.
    wait: called in the reader before it allocates memory, to wait for a slot.
    The reader keeps the group and the slot until it is closed; close the file before.
    """

    def work() -> tuple[object, int]:
        from pelagos_core.images.image_store import ImageStore

        with contextlib.suppress(PelagosError):  # another daemon may have removed the empty group
            joining.join(cgroup)
        wait()
        memory = os.memfd_create("module", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with (
            ImageStore.connect(source.address, source.namespace, SILENCE_SECONDS) as channel,
            open(memory, "wb", closefd=False) as file,  # buffered: write(2) may write less than requested
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
            parent.recv(1)  # returns when the parent closes its end
    except BaseException as error:  # noqa: BLE001 (every error is reported to the parent)
        code, text, reason = to_fields(error)
        parent.send(json.dumps([code, text[:_MAX_TEXT], reason, None]).encode())
