"""The node's config file, /etc/pelagos/config.toml, and runtime options of the same form.

    runtime = "auto"            # or a backend's name
    order = ["this", "that"]    # the backends that `auto` prefers, if they can run the module
    zygote_idle_seconds = 600   # seconds after which an unused zygote ends; 0: there is no zygote
    metrics = true              # whether daemons count for `pelagos metrics`

    host_network = true         # a guest of a pod with the host's network uses it; by default it has no network

    [backends.this]             # the settings of one backend
    program = "/opt/this/bin/this"

    [wasm]                      # the maximum that a guest may use: see `policy`
    network = "none"

    [traces]                    # OpenTelemetry; off without this table and OTEL_… in the environment
    endpoint = "http://127.0.0.1:4318"
    sampling = 0.1              # share of the traces that begin here; containerd decides for traces that it begins

    [cache]                     # of compiled code; these are the defaults
    directory = "/var/cache/pelagos"
    size = "4g"                 # the least recently used code is removed first; "0": nothing is stored
    memory = "4g"               # for one compilation
    seconds = 300               # for one compilation, also if the engine compiles during the load

Only root may be able to write the file: its settings take effect in root's processes.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from pelagos_core.config import size
from pelagos_core.config.policy import EVERYTHING, SECCOMP, Policy
from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied
from pelagos_core.ownership import is_written_by

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PATH = "/etc/pelagos/config.toml"
PATH_VARIABLE = "PELAGOS_CONFIG"
CACHE_VARIABLE = "PELAGOS_CACHE_DIR"
MAX_BYTES = 1 << 20
KEYS = frozenset(
    {
        "runtime",
        "order",
        "backends",
        "cache",
        "host_network",
        "metrics",
        "seccomp",
        "traces",
        "wasm",
        "zygote_idle_seconds",
    }
)
_GIB = 1 << 30
_MAX_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The store of compiled code, and the limits of the store and of compilations.

    size: bytes of the store. memory: bytes for one compilation. seconds: for one compilation,
    and for `spawn`, in which an engine may compile.
    """

    directory: str = "/var/cache/pelagos"
    size: int = 4 * _GIB
    memory: int = 4 * _GIB
    seconds: int = 300


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """OpenTelemetry traces.

    endpoint: of a collector, for OTLP by HTTP; empty: from OTEL_EXPORTER_OTLP_…, else http://localhost:4318.
    sampling: the share of traces that begin here, 0 to 1; None: from OTEL_TRACES_SAMPLER, else all.
    """

    endpoint: str = ""
    sampling: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a node, or of one runtime class.

    runtime: the backend to use if no annotation names one; empty: not set.
    order: names of backends, the preferred one first.
    backends: each backend's own settings.
    seccomp: the minimum of system call filtering, one of SECCOMP; empty: not set.
    wasm: words of `policy`, which have been checked.
    host_network: whether a guest may use the host's network, if its pod has it; None: not set.
    cache: of compiled code.
    zygote_idle_seconds: seconds without a request and a daemon after which the zygote ends; 0: no zygote; None: unset.
    metrics: whether daemons count for `pelagos metrics`.
    traces: of the daemons' work; None: no traces.
    shim_cgroup: the control group for the daemon, of runtime options; empty: the group of `start`.
    """

    runtime: str = ""
    order: tuple[str, ...] = ()
    backends: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    seccomp: str = ""
    wasm: Mapping[str, str] = field(default_factory=dict)
    cache: CacheSettings = CacheSettings()
    host_network: bool | None = None
    zygote_idle_seconds: int | None = None
    metrics: bool = True
    traces: TraceSettings | None = None
    shim_cgroup: str = ""

    def settings(self, name: str) -> Mapping[str, object]:
        """The settings of one backend; empty if there are none."""
        return self.backends.get(name, {})

    @property
    def policy(self) -> Policy:
        """The policy for a guest without annotations and runtime options."""
        least = replace(EVERYTHING, seccomp=self.seccomp or EVERYTHING.seccomp, host_network=self.host_network is True)
        return least.narrowed(self.wasm, lambda word: f"config: wasm.{word}")


def load_node() -> Config:
    """The node's config; the defaults if there is no file.

    PELAGOS_CACHE_DIR in the environment sets another directory for compiled code. A user that is not root has its own
    directory. Raises InvalidArgument or PermissionDenied that names the file.
    """
    try:
        found = load(node_path())
    except NotFound:
        found = Config()
    directory = os.environ.get(CACHE_VARIABLE, "") or (user_cache() if os.geteuid() else "")
    return replace(found, cache=replace(found.cache, directory=directory)) if directory else found


def user_cache() -> str:
    """The directory for compiled code of a user that is not root: the node's directory belongs to root."""
    home = os.environ.get("XDG_CACHE_HOME", "") or os.path.expanduser("~/.cache")
    return os.path.join(home, "pelagos", "code")


def node_path() -> str:
    """The path of the node's config file."""
    return os.environ.get(PATH_VARIABLE, PATH)


def load(path: str, what: str = "config") -> Config:
    """Read a config file. Errors name it by `what` and its path.

    Raises NotFound, PermissionDenied or InvalidArgument.
    """
    what = f"{what} {path!r}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{what} does not exist") from None
    except (OSError, ValueError) as error:  # too long, a loop of links, a NUL byte
        raise InvalidArgument(f"{what}: {error}") from None
    try:
        _check_owner(what, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{what}: more than {MAX_BYTES} bytes")
    return parse(data, what)


def _check_owner(what: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgument(f"{what} is not a regular file")
    if not is_written_by(status, 0, os.geteuid()):
        raise PermissionDenied(f"{what} can be written by others than root: chown root, chmod 644")


def table(data: bytes, what: str) -> dict[str, Any]:
    """Parse a TOML text. Raises InvalidArgument."""
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what}: not TOML: {error}") from None


def parse(data: bytes, what: str, ignored: frozenset[str] = frozenset()) -> Config:
    """Parse the TOML text of a config.

    what: its name in errors. ignored: keys to ignore.
    Raises InvalidArgument that names the key.
    """
    found = table(data, what)
    _check_keys(found.keys() - ignored, KEYS, what)
    order = _checked(found.get("order", []), list, f"{what}: order")
    backends = _checked(found.get("backends", {}), dict, f"{what}: backends")
    return Config(
        runtime=_checked(found.get("runtime", ""), str, f"{what}: runtime"),
        order=tuple(_checked(name, str, f"{what}: order") for name in order),
        backends={name: _checked(value, dict, f"{what}: backends.{name}") for name, value in backends.items()},
        seccomp=_seccomp(found.get("seccomp", ""), f"{what}: seccomp"),
        wasm=_words(found.get("wasm", {}), f"{what}: wasm"),
        cache=_cache(_checked(found.get("cache", {}), dict, f"{what}: cache"), f"{what}: cache"),
        host_network=_switch(found.get("host_network"), f"{what}: host_network"),
        zygote_idle_seconds=_seconds(found.get("zygote_idle_seconds"), f"{what}: zygote_idle_seconds"),
        metrics=_checked(found.get("metrics", True), bool, f"{what}: metrics"),
        traces=_traces(found["traces"], f"{what}: traces") if "traces" in found else None,
    )


_NAMES: dict[type, str] = {
    str: "a string",
    list: "a list of strings",
    dict: "a table",
    int: "a whole number",
    bool: "true or false",
}


def _words(value: object, what: str) -> Mapping[str, str]:
    table = _checked(value, dict, what)
    words = {key: _checked(word, str, f"{what}.{key}") for key, word in table.items()}
    EVERYTHING.narrowed(words, lambda key: f"{what}.{key}")
    return words


def _seccomp(value: object, what: str) -> str:
    if value and value not in SECCOMP:
        raise InvalidArgument(f"{what}: {value!r} is none of {', '.join(SECCOMP)}")
    return str(value)


def _check_keys(keys: Set[str], known: Set[str], what: str) -> None:
    unknown = sorted(keys - known)
    if unknown:
        raise InvalidArgument(f"{what}: unknown key {unknown[0]!r} (known: {', '.join(sorted(known))})")


def _cache(table: Mapping[str, object], what: str) -> CacheSettings:
    default = CacheSettings()
    _check_keys(table.keys(), frozenset(CacheSettings.__slots__), what)
    directory = _checked(table.get("directory", default.directory), str, f"{what}.directory")
    if not os.path.isabs(directory):
        raise InvalidArgument(f"{what}.directory: {directory!r} is not an absolute path")
    seconds = _seconds(table.get("seconds", default.seconds), f"{what}.seconds")
    if not seconds or seconds > _MAX_SECONDS:
        raise InvalidArgument(f"{what}.seconds: {seconds} is not between 1 and {_MAX_SECONDS}")
    memory = _bytes(table.get("memory"), default.memory, f"{what}.memory")
    if not memory:
        raise InvalidArgument(f"{what}.memory: it must be more than 0")
    return CacheSettings(directory, _bytes(table.get("size"), default.size, f"{what}.size"), memory, seconds)


def _traces(value: object, what: str) -> TraceSettings:
    table = _checked(value, dict, what)
    _check_keys(table.keys(), frozenset(TraceSettings.__slots__), what)
    endpoint = _checked(table.get("endpoint", ""), str, f"{what}.endpoint")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise InvalidArgument(f"{what}.endpoint: {endpoint!r} is not a URL of http or https")
    sampling = table.get("sampling")
    if sampling is not None and (isinstance(sampling, bool) or not isinstance(sampling, int | float)):
        raise InvalidArgument(f"{what}.sampling: not a number")
    if sampling is not None and not 0 <= sampling <= 1:
        raise InvalidArgument(f"{what}.sampling: {sampling} is not between 0 and 1")
    return TraceSettings(endpoint, None if sampling is None else float(sampling))


def _bytes(value: object, default: int, what: str) -> int:
    if value is None:
        return default
    try:
        return size.parse(_checked(value, str, what))
    except InvalidArgument as error:
        raise InvalidArgument(f"{what}: {error.message}", error.reason) from None


def _seconds(value: object, what: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or _checked(value, int, what) < 0:
        raise InvalidArgument(f"{what}: not a number of seconds")
    return int(_checked(value, int, what))


def _switch(value: object, what: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"{what}: not true or false")
    return value


def _checked(value: object, kind: type, what: str) -> Any:  # noqa: ANN401 (the kind decides)
    if not isinstance(value, kind):
        raise InvalidArgument(f"{what}: not {_NAMES[kind]}")
    return value
