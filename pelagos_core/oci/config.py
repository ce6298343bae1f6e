"""A whole config.json, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.oci.devices import Device, read_device
from pelagos_core.oci.field import Field
from pelagos_core.oci.hooks import Hooks, read_hooks
from pelagos_core.oci.id_maps import IdMaps, read_id_maps
from pelagos_core.oci.mounts import Mount, read_mount
from pelagos_core.oci.namespaces import Namespace, TimeOffset, read_namespaces, read_time_offsets
from pelagos_core.oci.process import Process, read_process
from pelagos_core.oci.resources import Resources, read_resources
from pelagos_core.oci.seccomp import Seccomp, read_seccomp

MAX_CONFIG_BYTES = 16 << 20  # a usual spec has some kilobytes; a huge one could exhaust the shim's memory

PROPAGATIONS = ("private", "shared", "slave", "unbindable")
PERSONALITIES = ("LINUX", "LINUX32")
_OTHER_PLATFORMS = ("vm", "windows", "solaris", "zos", "freebsd")
_UNSUPPORTED = ("intelRdt", "memoryPolicy", "netDevices")


@dataclass(frozen=True, slots=True)
class Root:
    """`root`: the directory with the container's files, relative to the bundle or absolute."""

    path: str = "rootfs"
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole config.json."""

    process: Process
    root: Root = Root()
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespaces: tuple[Namespace, ...] = ()
    cgroups_path: str = ""
    devices: tuple[Device, ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    domainname: str = ""
    sysctl: Mapping[str, str] = field(default_factory=dict)
    personality: str = ""
    mount_label: str = ""
    rootfs_propagation: str = ""
    id_maps: IdMaps = field(default_factory=IdMaps)
    hooks: Hooks = field(default_factory=Hooks)
    oci_version: str = ""
    time_offsets: tuple[TimeOffset, ...] = ()
    resources: Resources = field(default_factory=Resources)
    seccomp: Seccomp | None = None

    @property
    def memory_limit(self) -> int | None:
        """`linux.resources.memory.limit` in bytes; None for no limit, which is 0 or -1 there."""
        return self.resources.memory.limit if self.resources.memory.limit > 0 else None

    @property
    def has_readonly_files(self) -> bool:
        """Whether the root or a mount is read-only."""
        return self.root.readonly or any({"ro", "rro"} & set(mount.options) for mount in self.mounts)

    @property
    def host_uid(self) -> int | None:
        """The host's id of the process' user; None if the spec does not contain the map of its user namespace."""
        uid = self.process.user.uid
        return self.id_maps.user_outside(uid) if self.namespace("user") else uid

    def namespace(self, kind: str) -> Namespace | None:
        """The namespace of this type (`pid`, `network`, …), or None if the spec has none."""
        return next((item for item in self.namespaces if item.type == kind), None)


def parse(data: bytes) -> Spec:
    """Parse the bytes of a config.json.

    Raises InvalidArgument that names the missing or wrong field, or Unimplemented for an unsupported one.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise InvalidArgument(f"config.json: {len(data)} bytes, more than {MAX_CONFIG_BYTES}")
    return _spec(Field.parse("config.json", data))


def _spec(config: Field) -> Spec:
    process = config.get("process")
    if not process:
        process.refuse("missing")
    linux = config.get("linux")
    _refuse_unsupported(config, linux)
    return Spec(
        process=read_process(process),
        root=_root(config.get("root")),
        hostname=config.get("hostname").text(),
        mounts=config.get("mounts").each(read_mount),
        annotations=config.get("annotations").table(),
        namespaces=read_namespaces(linux.get("namespaces")),
        cgroups_path=_cgroups_path(linux.get("cgroupsPath")),
        devices=linux.get("devices").each(read_device),
        masked_paths=linux.get("maskedPaths").each(_absolute),
        readonly_paths=linux.get("readonlyPaths").each(_absolute),
        domainname=config.get("domainname").text(),
        sysctl=linux.get("sysctl").table(),
        personality=_personality(linux.get("personality")),
        mount_label=linux.get("mountLabel").text(),
        hooks=read_hooks(config.get("hooks")),
        oci_version=config.get("ociVersion").text(),
        id_maps=read_id_maps(linux),
        time_offsets=read_time_offsets(linux.get("timeOffsets")),
        rootfs_propagation=_propagation(linux.get("rootfsPropagation")),
        resources=read_resources(linux.get("resources")),
        seccomp=read_seccomp(linux.get("seccomp")),
    )


def _root(root: Field) -> Root:
    path = root.get("path")
    if ".." in path.text().split("/"):
        path.refuse(f"{path.text()!r} contains '..'")
    return Root(path=path.text() or "rootfs", readonly=root.get("readonly").flag())


def _refuse_unsupported(config: Field, linux: Field) -> None:
    """Refuse a field that is known but not supported. Unknown fields are ignored, as the spec requires."""
    for parent, name, keys in (("", config, _OTHER_PLATFORMS), ("linux.", linux, _UNSUPPORTED)):
        for key in keys:
            if name.get(key):
                raise Unimplemented(f"config.json: {parent}{key}: not supported")


def _personality(personality: Field) -> str:
    if not personality:
        return ""
    domain, flags = personality.get("domain"), personality.get("flags")
    if domain.text() not in PERSONALITIES:
        domain.refuse(f"{domain.text()!r} is none of {', '.join(PERSONALITIES)}")
    if flags.texts():
        flags.refuse("flags are not supported")
    return domain.text()


def _propagation(propagation: Field) -> str:
    word = propagation.text()
    if word and word.removeprefix("r") not in PROPAGATIONS:
        propagation.refuse(f"{word!r} is none of {', '.join(PROPAGATIONS)}, with or without a leading r")
    return word


def _absolute(path: Field) -> str:
    text = path.text()
    if not text.startswith("/"):
        path.refuse(f"{text!r} is not absolute")
    return text


def _cgroups_path(path: Field) -> str:
    if ".." in path.text().split("/"):
        path.refuse(f"{path.text()!r} contains '..'")
    return path.text()
