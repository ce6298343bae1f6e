"""The part of the OCI runtime spec (config.json) that pelagos obeys, parsed and checked.

Everything here comes from outside: a wrong type, a NUL or an absurd value is refused
with the path of the field, such as `config.json: process.args[0]: not a string`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pelagos_core.errors import InvalidArgument
from pelagos_core.field import Field

MAX_CONFIG_BYTES = 16 << 20  # a spec is kilobytes; more is an attack on the shim's memory
MAX_ID = 2**32 - 2  # (uid_t)-1 means "no change" to the kernel


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The five sets of `process.capabilities`, as names like `CAP_KILL`."""

    bounding: frozenset[str] = frozenset()
    effective: frozenset[str] = frozenset()
    inheritable: frozenset[str] = frozenset()
    permitted: frozenset[str] = frozenset()
    ambient: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class User:
    """`process.user`: numeric ids inside the container."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """`process`: what runs. `args` has at least one entry and `cwd` is absolute."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    capabilities: Capabilities = Capabilities()
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry of `mounts`, or of the rootfs list in a Create request."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One entry of `linux.namespaces`; an empty path asks for a new one."""

    type: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Root:
    """`root`: where the container's files are, relative to the bundle or absolute."""

    path: str = "rootfs"
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole config.json.

    memory_limit: `linux.resources.memory.limit` in bytes; None for no limit.
    """

    process: Process
    root: Root = Root()
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespaces: tuple[Namespace, ...] = ()
    cgroups_path: str = ""
    memory_limit: int | None = None

    @property
    def has_readonly_files(self) -> bool:
        """Whether the root or a mount is read-only."""
        return self.root.readonly or any("ro" in mount.options for mount in self.mounts)

    def namespace(self, kind: str) -> Namespace | None:
        """The namespace of this type (`pid`, `network`, …), or None if the spec has none."""
        return next((item for item in self.namespaces if item.type == kind), None)


def parse(data: bytes) -> Spec:
    """Parse the bytes of a config.json.

    Raises InvalidArgument that names the field which is missing or wrong.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise InvalidArgument(f"config.json: {len(data)} bytes, more than {MAX_CONFIG_BYTES}")
    return _spec(Field.parse("config.json", data))


def _spec(config: Field) -> Spec:
    process = config.get("process")
    if not process:
        process.refuse("missing")
    linux = config.get("linux")
    return Spec(
        process=_process(process),
        root=_root(config.get("root")),
        hostname=config.get("hostname").text(),
        mounts=config.get("mounts").each(_mount),
        annotations=config.get("annotations").table(),
        namespaces=_namespaces(linux.get("namespaces")),
        cgroups_path=_cgroups_path(linux.get("cgroupsPath")),
        memory_limit=_memory_limit(linux.get("resources").get("memory").get("limit")),
    )


def _process(process: Field) -> Process:
    args = process.get("args")
    words = args.texts()
    if not words or not words[0]:
        args.refuse("empty: there is nothing to run")
    env = process.get("env")
    for variable in env.texts():
        if "=" not in variable[1:]:
            env.refuse(f"{variable!r} is not NAME=VALUE")
    cwd = process.get("cwd")
    if not cwd.text("/").startswith("/"):
        cwd.refuse(f"{cwd.text()!r} is not absolute")
    return Process(
        args=words,
        env=env.texts(),
        cwd=cwd.text("/"),
        user=_user(process.get("user")),
        capabilities=_capabilities(process.get("capabilities")),
        terminal=process.get("terminal").flag(),
    )


def _user(user: Field) -> User:
    umask = user.get("umask")
    return User(
        uid=user.get("uid").number(MAX_ID),
        gid=user.get("gid").number(MAX_ID),
        additional_gids=user.get("additionalGids").each(lambda field: field.number(MAX_ID)),
        umask=umask.number(0o777) if umask else None,
    )


def _capabilities(sets: Field) -> Capabilities:
    def names(kind: str) -> frozenset[str]:
        return frozenset(sets.get(kind).texts())

    return Capabilities(
        bounding=names("bounding"),
        effective=names("effective"),
        inheritable=names("inheritable"),
        permitted=names("permitted"),
        ambient=names("ambient"),
    )


def _root(root: Field) -> Root:
    path = root.get("path")
    if ".." in path.text().split("/"):
        path.refuse(f"{path.text()!r} climbs with '..'")
    return Root(path=path.text() or "rootfs", readonly=root.get("readonly").flag())


def _mount(mount: Field) -> Mount:
    destination = mount.get("destination")
    if not destination.text().startswith("/"):
        destination.refuse(f"{destination.text()!r} is not absolute")
    return Mount(
        destination=destination.text(),
        type=mount.get("type").text(),
        source=mount.get("source").text(),
        options=mount.get("options").texts(),
    )


NAMESPACE_TYPES = frozenset({"pid", "mount", "ipc", "uts", "network", "cgroup", "user", "time"})


def _namespaces(namespaces: Field) -> tuple[Namespace, ...]:
    def read(field: Field) -> Namespace:
        kind = field.get("type").text()
        if kind not in NAMESPACE_TYPES:
            field.refuse(f"unknown namespace type {kind!r}")
        path = field.get("path")
        if path.text() and not path.text().startswith("/"):
            path.refuse(f"{path.text()!r} is not absolute")
        return Namespace(kind, path.text())

    found = namespaces.each(read)
    kinds = [namespace.type for namespace in found]
    for kind in set(kinds):
        if kinds.count(kind) > 1:
            namespaces.refuse(f"{kind} is there twice")
    return found


def _cgroups_path(path: Field) -> str:
    if ".." in path.text().split("/"):
        path.refuse(f"{path.text()!r} climbs with '..'")
    return path.text()


def _memory_limit(limit: Field) -> int | None:
    """The limit in bytes; the spec writes -1 for none, and 0 is what some clients send for it."""
    value = limit.number(2**63 - 1, least=-1)
    return value if value > 0 else None
