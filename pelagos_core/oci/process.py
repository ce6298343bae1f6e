"""`process` of the OCI runtime spec: arguments, environment, user, limits."""

from __future__ import annotations

from dataclasses import dataclass

from pelagos_core.oci.environment import read_environment
from pelagos_core.oci.field import Field
from pelagos_core.oci.scheduling import IoPriority, Rlimit, Scheduler, read_io_priority, read_rlimits, read_scheduler

MAX_CONSOLE_SIZE = 0xFFFF  # ioctl_tty(2): struct winsize has 16 bits
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
    """`process`. `args` has at least one entry, `env` contains each name once, and `cwd` is absolute.

    oom_score_adj: None to keep the shim's.
    console_size: width and height of the terminal in characters; zeros if the spec has none.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    capabilities: Capabilities = Capabilities()
    terminal: bool = False
    console_size: tuple[int, int] = (0, 0)
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None


def parse_process(data: bytes) -> Process:
    """Parse the JSON text of a `process`, from an Exec request.

    Raises InvalidArgument that names the missing or wrong field.
    """
    return read_process(Field.parse("process", data))


def read_process(process: Field) -> Process:
    """Read the `process` of a spec or of an Exec request. Raises InvalidArgument."""
    args = process.get("args")
    words = args.texts()
    if not words or not words[0]:
        args.refuse("empty: there is no program to run")
    cwd = process.get("cwd")
    if not cwd.text("/").startswith("/"):
        cwd.refuse(f"{cwd.text()!r} is not absolute")
    score = process.get("oomScoreAdj")
    return Process(
        args=words,
        env=read_environment(process.get("env")),
        cwd=cwd.text("/"),
        user=_user(process.get("user")),
        capabilities=_capabilities(process.get("capabilities")),
        terminal=process.get("terminal").flag(),
        console_size=_console_size(process.get("consoleSize")),
        no_new_privileges=process.get("noNewPrivileges").flag(),
        rlimits=read_rlimits(process.get("rlimits")),
        oom_score_adj=score.number(1000, least=-1000) if score else None,
        apparmor_profile=process.get("apparmorProfile").text(),
        selinux_label=process.get("selinuxLabel").text(),
        scheduler=read_scheduler(process.get("scheduler")),
        io_priority=read_io_priority(process.get("ioPriority")),
    )


def _console_size(size: Field) -> tuple[int, int]:
    if not size:
        return 0, 0
    return size.get("width").number(MAX_CONSOLE_SIZE), size.get("height").number(MAX_CONSOLE_SIZE)


def _user(user: Field) -> User:
    umask = user.get("umask")
    return User(
        uid=user.get("uid").number(MAX_ID),
        gid=user.get("gid").number(MAX_ID),
        additional_gids=user.get("additionalGids").each(lambda field: field.number(MAX_ID)),
        umask=umask.number(0o777) if umask else None,
    )


def _capabilities(sets: Field) -> Capabilities:
    if not sets:
        return Capabilities()

    def names(kind: str) -> frozenset[str]:
        return frozenset(sets.get(kind).texts())

    return Capabilities(
        bounding=names("bounding"),
        effective=names("effective"),
        inheritable=names("inheritable"),
        permitted=names("permitted"),
        ambient=names("ambient"),
    )
