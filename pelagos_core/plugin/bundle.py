"""The bundle: the directory in which containerd describes a container. Its content is checked when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pelagos_core import oci
from pelagos_core.config.policy import EVERYTHING, Policy
from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import Mount, Process, Spec
from pelagos_core.shim.identifier import check_id

ANNOTATION_PREFIX = "io.pelagos.wasm."
RUNTIME_ANNOTATION = f"{ANNOTATION_PREFIX}runtime"
CONTAINER_TYPE = "io.kubernetes.cri.container-type"
CONTAINER_NAME = "io.kubernetes.cri.container-name"
_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Bundle:
    """The description of one container.

    id, namespace: the container's, as containerd names them.
    path: the bundle's absolute path on the host.
    spec: the checked config.json.
    rootfs: the mounts that create the root file system, in order; each destination is relative to
        it. Empty if `spec.root.path` is already complete.
    policy: what the container's guest may use.
    """

    id: str
    namespace: str
    path: str
    spec: Spec
    rootfs: tuple[Mount, ...] = ()
    policy: Policy = EVERYTHING

    @classmethod
    def load(cls, path: str, id: str, namespace: str, rootfs: Iterable[Mount] = ()) -> Bundle:
        """Read and check `path`/config.json.

        Raises InvalidArgument or NotFound; the message names the container and the fault.
        """
        check_id(id)
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"container {id!r}: bundle {path!r} is not an absolute path")
        try:
            parsed = oci.parse(_read_config(path))
        except InvalidArgument as error:
            raise InvalidArgument(f"container {id!r}: {error.message}", error.reason) from None
        except NotFound as error:
            raise NotFound(f"container {id!r}: {error.message}", error.reason) from None
        return cls(id=id, namespace=namespace, path=path, spec=parsed, rootfs=tuple(rootfs))

    @property
    def is_sandbox(self) -> bool:
        """Whether it is a pod's sandbox (pause) container, whose annotations are the pod's."""
        return self.spec.annotations.get(CONTAINER_TYPE) == "sandbox"

    @property
    def name_in_pod(self) -> str:
        """The container's name in its pod, also of init and ephemeral ones; empty without a pod, or for a sandbox."""
        return self.spec.annotations.get(CONTAINER_NAME, "")

    @property
    def wasm_annotations(self) -> dict[str, str]:
        """The annotations of pelagos: those that begin with ANNOTATION_PREFIX."""
        return {key: value for key, value in self.spec.annotations.items() if key.startswith(ANNOTATION_PREFIX)}

    @property
    def has_readonly_files(self) -> bool:
        """Whether any file that the guest can see is read-only."""
        narrowed = self.policy.directories
        return self.spec.has_readonly_files or any(each.readonly for directories in narrowed for each in directories)

    def annotated(self, pod: Mapping[str, str]) -> Bundle:
        """The same bundle with its pod's annotations added; the container's own annotations take precedence."""
        if not pod:
            return self
        return replace(self, spec=replace(self.spec, annotations={**pod, **self.spec.annotations}))

    def executing(self, process: Process) -> Bundle:
        """The same bundle with another process in its spec, for an exec."""
        return replace(self, spec=replace(self.spec, process=process))

    @property
    def root(self) -> str:
        """The host path of the directory on which the root file system is assembled."""
        # A rootfs list is mounted on <bundle>/rootfs whatever root.path says.
        return os.path.join(self.path, "rootfs" if self.rootfs else self.spec.root.path)


def _read_config(bundle: str) -> bytes:
    """The bytes of the file; of a file that is too large, a few more than MAX_CONFIG_BYTES."""
    config = bytearray()
    try:
        # In pieces: `read(MAX_CONFIG_BYTES)` of a file object would allocate that much memory first.
        with Fd(os.open(os.path.join(bundle, "config.json"), os.O_RDONLY | os.O_CLOEXEC)) as file:
            while len(config) <= oci.MAX_CONFIG_BYTES and (chunk := os.read(file, _CHUNK_BYTES)):
                config += chunk
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"bundle {bundle!r} has no config.json") from None
    except IsADirectoryError:
        raise InvalidArgument(f"bundle {bundle!r}: config.json is a directory") from None
    return bytes(config)
