"""Reads a container's image and its blobs through containerd's API.

Runs in the reader's process (`reader`). The socket is the one that containerd passes to a shim by `-address`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from pelagos_core import reasons
from pelagos_core.api import containers_pb2, content_pb2, images_pb2
from pelagos_core.errors import InvalidArgument, NotFound, ResourceExhausted
from pelagos_core.images import artifact
from pelagos_core.images.artifact import Descriptor, Module
from pelagos_core.images.grpc import Channel
from pelagos_core.images.node_platform import Platform

_NAMESPACE = "containerd-namespace"  # gRPC metadata of each call
_GET_CONTAINER = "containerd.services.containers.v1.Containers/Get"
_GET_IMAGE = "containerd.services.images.v1.Images/Get"
_INFO = "containerd.services.content.v1.Content/Info"
_READ = "containerd.services.content.v1.Content/Read"


class ImageStore:
    """The images of one namespace of containerd."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @staticmethod
    def connect(address: str, namespace: str, seconds: float) -> Channel:
        """Connect for calls in a namespace. seconds: as in `Channel`. Raises OSError if containerd does not listen."""
        return Channel(address, {_NAMESPACE: namespace}, seconds)

    def image_of(self, container: str) -> str:
        """The name of a container's image; empty if it has none, like docker's containers. Raises PelagosError."""
        request = containers_pb2.GetContainerRequest(id=container)
        return self._channel.call(_GET_CONTAINER, request, containers_pb2.GetContainerResponse).container.image

    def target_of(self, image: str) -> Descriptor:
        """The index or manifest to which an image's name refers now; a pull may change it. Raises PelagosError."""
        request = images_pb2.GetImageRequest(name=image)
        said = self._channel.call(_GET_IMAGE, request, images_pb2.GetImageResponse).image.target
        return artifact.descriptor(said.media_type, said.digest, said.size)

    def modules(self, target: Descriptor, node: Platform) -> list[Module]:
        """The modules of an image for a node; empty if the image only has files. Raises PelagosError."""
        if artifact.is_index(target):
            found = artifact.manifest_of(self._small(target), node)
            if found is None or artifact.is_index(found):
                return []
            target = found
        return artifact.modules(self._small(target))

    def check(self, module: Module) -> None:
        """Check that a module is in the store with the size of its descriptor. Raises PelagosError otherwise.

        A manifest may name any digest, also that of another tenant's module. A container must not use records of a
        module that its namespace does not have.
        """
        request = content_pb2.InfoRequest(digest=f"sha256:{module.digest}")
        try:
            length = self._channel.call(_INFO, request, content_pb2.InfoResponse).info.size
        except NotFound:
            raise _gone(module.digest) from None
        if length != module.size:
            raise _other_size(module.digest, f"{length}", module.size)

    def copy(self, digest: str, length: int, sink: Callable[[bytes], object]) -> None:
        """Copy a blob to `sink`. Raises InvalidArgument if its digest or size differs, NotFound if it is missing."""
        found, copied = hashlib.sha256(), 0
        for data in self._read(digest):
            copied += len(data)
            if copied > length:
                break
            found.update(data)
            sink(data)
        if copied != length:
            raise _other_size(digest, "more" if copied > length else f"{copied}", length)
        if found.hexdigest() != digest:
            raise InvalidArgument(f"blob sha256:{digest} has bytes of another digest", reasons.IMAGE)

    def _small(self, blob: Descriptor) -> bytes:
        if blob.size > artifact.MAX_MANIFEST:
            raise ResourceExhausted(f"its manifest has {blob.size} bytes", reasons.IMAGE)
        data = bytearray()
        self.copy(blob.digest, blob.size, data.extend)
        return bytes(data)

    def _read(self, digest: str) -> Iterator[bytes]:
        request = content_pb2.ReadContentRequest(digest=f"sha256:{digest}")
        try:
            for answer in self._channel.stream(_READ, request, content_pb2.ReadContentResponse):
                yield answer.data
        except NotFound:
            raise _gone(digest) from None


def _gone(digest: str) -> NotFound:
    return NotFound(f"blob sha256:{digest} is not in containerd's store: pull it again", reasons.IMAGE)


def _other_size(digest: str, found: str, length: int) -> InvalidArgument:
    return InvalidArgument(f"blob sha256:{digest} has {found} bytes, and not {length}", reasons.IMAGE)
