"""`env` of the OCI runtime spec: of a process, and of a hook."""

from __future__ import annotations

from pelagos_core.oci.field import Field


def read_environment(env: Field) -> tuple[str, ...]:
    """Read a list of `NAME=VALUE`. Raises InvalidArgument.

    Of several entries with one name the last is left, at its own place, as runc has it: CRI puts
    the variables of a pod after those of its image. With two of them each program, language and
    engine would take the one it comes upon.
    """
    last: dict[str, str] = {}
    for variable in env.texts():
        name, equals, _ = variable.partition("=")
        if not name or not equals:
            env.refuse(f"{variable!r} is not NAME=VALUE")
        last.pop(name, None)
        last[name] = variable
    return tuple(last.values())
