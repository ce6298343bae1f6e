"""`env` of the OCI runtime spec: of a process, and of a hook."""

from __future__ import annotations

from pelagos_core.oci.field import Field


def read_environment(env: Field) -> tuple[str, ...]:
    """Read a list of `NAME=VALUE`. Raises InvalidArgument.

    If a name is set several times, only the last entry is kept, in its place, as in runc: CRI appends the variables of
    a pod to those of its image. If two were kept, it would depend on the program which one it uses.
    """
    last: dict[str, str] = {}
    for variable in env.texts():
        name, equals, _ = variable.partition("=")
        if not name or not equals:
            env.refuse(f"{variable!r} is not NAME=VALUE")
        last.pop(name, None)
        last[name] = variable
    return tuple(last.values())
