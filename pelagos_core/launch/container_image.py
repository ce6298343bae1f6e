"""The module of a container whose image is a Wasm artifact. A reader process finds it, and copies it if needed.

In the daemon, which waits for the reader on its event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
from collections.abc import Coroutine
from functools import partial
from typing import Any

from pelagos_core import reasons
from pelagos_core.cache import compile_service
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import DeadlineExceeded, PelagosError, from_fields
from pelagos_core.images import reader
from pelagos_core.images.artifact import Descriptor, Module
from pelagos_core.images.reader import Reader, Source
from pelagos_core.launch.init import JoinTarget
from pelagos_core.launch.launch import Launch
from pelagos_core.linux.pidfd import readable
from pelagos_core.plugin.entrypoint import candidates, split_func

log = logging.getLogger(__name__)

_FIND_SECONDS = 30.0


class Artifact:
    """A module of a container's image, in place of a file of the container.

    digest: sha256, in hex: of the image's manifest, and of the bytes that `obtain` returns.
    path: where the container would have the file. file: a descriptor of its bytes; -1 before `obtain`.
    """

    def __init__(self, launch: Launch, source: Source, module: Module) -> None:
        self._launch, self._source, self._module = launch, source, module
        self.digest = module.digest
        self.path = candidates(launch.bundle.spec.process)[-1]
        self.file = -1
        self._reading: tuple[Reader, Cgroup] | None = None

    async def obtain(self) -> int:
        """Return a descriptor of its bytes, in a sealed file in memory. This object closes it in `close`.

        A cancellation ends the reader. Raises PelagosError or OSError.
        """
        if self.file < 0:
            name, cache = self._launch.name, self._launch.cache
            cgroup = compile_service.make_group(cache)
            try:
                wait = partial(compile_service.wait_to_read, cache)
                reading = reader.fetch(self._source, self._module, cgroup, wait)
            except BaseException:
                cgroup.try_remove()
                raise
            self._reading = reading, cgroup
            try:
                _, self.file = await _answer(name, reading, cache.seconds + compile_service.PATIENCE_SECONDS)
            except BaseException:
                self.close()
                raise
            log.info("%s: module sha256:%s of its image was read", name, self.digest)
        return self.file

    def close(self) -> None:
        """Close the file, if it was read, and remove its control group: its memory is free for another file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
        if self._reading:
            (reading, cgroup), self._reading = self._reading, None
            reading.close()
            cgroup.try_remove()


class ContainerImage:
    """The image of a launch's container. It is read once, when the entry point is not a file of the container.

    artifact: the module for args[0]; None before `look`, and if the image has no such module. target: the
    manifest that the image's name referred to when the container's first process was launched; None if that process
    has not read the image. Further processes use the same manifest, even if the name refers to another one later.
    """

    def __init__(self, launch: Launch, address: str) -> None:
        """address: of containerd's API; empty without one."""
        self._launch, self._address = launch, address
        self._reading: asyncio.Future[None] | None = None
        self.artifact: Artifact | None = None
        self.target: Descriptor | None = None

    async def look(self, target: JoinTarget | None) -> None:
        """Find the module for args[0]. target: the container that a further process joins.

        A container's first process gets the image's only module, whatever args[0] is. A further process gets it if
        it has the same args[0]; else the module with that name.
        Returns at once after `cancel`. Raises PelagosError for an image that cannot be used, or read.
        """
        if self._address:
            address, self._address = self._address, ""
            await self._unless_cancelled(self._find(address, target))

    async def obtain(self) -> None:
        """Read the bytes of `artifact`, if there is one. Returns and raises as `look`."""
        if self.artifact is not None:
            await self._unless_cancelled(self._obtain(self.artifact))

    def cancel(self) -> None:
        """End a pending `look` or `obtain`: the launch has been killed."""
        if self._reading:
            self._reading.cancel()

    def close(self) -> None:
        """Close the file of `artifact`."""
        if self.artifact is not None:
            self.artifact.close()

    async def _find(self, address: str, target: JoinTarget | None) -> None:
        launch, bundle = self._launch, self._launch.bundle
        word, _ = split_func(bundle.spec.process.args[0])
        only = target is None or split_func(target.word)[0] == word
        source = Source(address, bundle.namespace, bundle.id)
        image = target.image if target else None
        finding = reader.find(source, posixpath.basename(word), only=only, image=image)
        try:
            found, _ = await _answer(launch.name, finding, _FIND_SECONDS)
        finally:
            finding.close()
        if found is not None:
            self.target = Descriptor(*found[0])
            self.artifact = Artifact(launch, source, Module(*found[1]))

    @staticmethod
    async def _obtain(artifact: Artifact) -> None:
        await artifact.obtain()

    async def _unless_cancelled(self, work: Coroutine[None, None, None]) -> None:
        self._reading = reading = asyncio.ensure_future(work)
        try:
            await asyncio.wait({reading})
        finally:
            reading.cancel()  # no effect on a finished task
            await asyncio.wait({reading})  # its reader has ended then
            self._reading = None
        if not reading.cancelled():
            reading.result()


async def _answer(name: str, running: Reader, seconds: float) -> tuple[Any, int]:
    try:
        await asyncio.wait_for(readable(running.socket.fileno()), seconds)
        return running.answer()
    except asyncio.TimeoutError:
        raise DeadlineExceeded(f"{name}: its image was not read in {seconds:g} s", reasons.IMAGE) from None
    except PelagosError as error:
        raise from_fields(error.code, f"{name}: image: {error.message}", error.reason) from None
