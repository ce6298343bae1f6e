"""`linux.namespaces` of the OCI runtime spec."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.field import Field

NAMESPACE_TYPES = frozenset({"pid", "mount", "ipc", "uts", "network", "cgroup", "user", "time"})


@dataclass(frozen=True, slots=True)
class Namespace:
    """One entry of `linux.namespaces`; an empty path asks for a new one."""

    type: str
    path: str = ""


def read_namespaces(namespaces: Field) -> tuple[Namespace, ...]:
    """Read `linux.namespaces`. Raises InvalidArgument."""

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
