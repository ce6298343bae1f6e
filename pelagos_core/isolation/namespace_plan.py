"""The namespaces in a container's plan. Pure: no system calls."""

from __future__ import annotations

from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.isolation import sysctl
from pelagos_core.isolation.entering import (
    BringLoopbackUp,
    EnterNamespaces,
    EnterTimeNamespace,
    SetDomainName,
    SetHostname,
    SetSysctls,
)
from pelagos_core.isolation.operation import Operation
from pelagos_core.oci import Spec

_NAMESPACES_OF_INIT = ("cgroup", "ipc", "network", "time", "uts")


def entering(spec: Spec, propagation: int, foreign: frozenset[str] = frozenset()) -> EnterNamespaces:
    """The step by which a container's init process enters its namespaces.

    propagation: of the host's mounts in the new mount namespace, an MS_ flag. foreign: types whose namespace must not
    be the host's. Raises Unimplemented or InvalidArgument that names the field.
    """
    for namespace in spec.namespaces:
        if namespace.type == "mount" and namespace.path:
            raise Unimplemented("linux.namespaces: a mount namespace by path is not supported")
    _check_user_namespace(spec)
    if spec.time_offsets and not times(spec):
        raise InvalidArgument("linux.timeOffsets: the spec has no new time namespace")
    asked = [found for kind in _NAMESPACES_OF_INIT if (found := spec.namespace(kind))]
    joined = tuple(namespace for namespace in asked if namespace.path)
    unshared = tuple(namespace.type for namespace in asked if not namespace.path and namespace.type != "time")
    changed = {sysctl.namespace_of(name) for name in spec.sysctl}
    if spec.hostname or spec.domainname:
        changed.add("uts")
    changed |= foreign & {namespace.type for namespace in joined}
    for kind in sorted(changed):
        if spec.namespace(kind) is None:
            setting = next((name for name in spec.sysctl if sysctl.namespace_of(name) == kind), "hostname, domainname")
            raise InvalidArgument(f"{setting}: the spec has no {kind} namespace, it would change the host")
    return EnterNamespaces(joined, ("mount", *unshared), frozenset(changed), propagation)


def with_loopback(step: EnterNamespaces) -> tuple[Operation, ...]:
    """The step; for a new network namespace followed by the step that brings the loopback device up."""
    return (step, BringLoopbackUp()) if "network" in step.unshared else (step,)


def times(spec: Spec) -> list[Operation]:
    """The step that enters a new time namespace, if the spec has one."""
    time = spec.namespace("time")
    return [EnterTimeNamespace(spec.time_offsets)] if time is not None and not time.path else []


def _check_user_namespace(spec: Spec) -> None:
    user = spec.namespace("user")
    if user is None and spec.id_maps:
        raise InvalidArgument("linux.uidMappings, linux.gidMappings: the spec has no user namespace")
    if user is not None and not user.path:
        for name, ranges in (("uidMappings", spec.id_maps.users), ("gidMappings", spec.id_maps.groups)):
            if not any(each.inside == 0 for each in ranges):
                raise InvalidArgument(f"linux.{name}: a new user namespace needs a map of id 0")


def settings_of(spec: Spec) -> list[Operation]:
    """The steps that set host name, domain name and sysctls."""
    settings: list[Operation] = []
    if spec.hostname:
        settings.append(SetHostname(spec.hostname))
    if spec.domainname:
        settings.append(SetDomainName(spec.domainname))
    if spec.sysctl:
        settings.append(SetSysctls(tuple(spec.sysctl.items())))
    return settings
