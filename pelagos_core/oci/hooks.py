"""`hooks` of the OCI runtime spec: programs to run during the life cycle of a container."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.oci.environment import read_environment
from pelagos_core.oci.field import Field

_MAX_SECONDS = 2**31


@dataclass(frozen=True, slots=True)
class Hook:
    """One program.

    name: its place in the spec, such as `poststart[0]`. args: its argv; only the path if the spec has none.
    timeout: seconds; None for no limit.
    """

    name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """All hooks of a spec, in the order of execution. The hooks of `prestart` are the first of `create_runtime`."""

    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()

    @property
    def while_creating(self) -> bool:
        """Whether there are hooks to run before the change of root."""
        return bool(self.create_runtime or self.create_container)


def read_hooks(hooks: Field) -> Hooks:
    """Read `hooks`. Raises InvalidArgument."""
    if not hooks:
        return Hooks()

    def read(name: str) -> tuple[Hook, ...]:
        found = hooks.get(name).each(_read_hook)
        return tuple(Hook(f"{name}[{i}]", *rest) for i, rest in enumerate(found))

    return Hooks(
        create_runtime=(*read("prestart"), *read("createRuntime")),
        create_container=read("createContainer"),
        start_container=read("startContainer"),
        poststart=read("poststart"),
        poststop=read("poststop"),
    )


def _read_hook(hook: Field) -> tuple[str, tuple[str, ...], tuple[str, ...], int | None]:
    path = hook.get("path")
    if not path.text().startswith("/"):
        path.refuse(f"{path.text()!r} is not absolute")
    timeout = hook.get("timeout")
    seconds = timeout.number(_MAX_SECONDS, least=1) if timeout else None
    return path.text(), hook.get("args").texts() or (path.text(),), read_environment(hook.get("env")), seconds
