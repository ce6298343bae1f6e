"""The runtime options in a Create request, from containerd's config or `ctr`.

Clients send runc's options to any runtime, and operators copy the keys of runc's table in containerd's config to the
tables of other runtimes. Each key has an effect, or a warning in the log says that it has none. docs/task-api.md has
the table. Source: containerd's `runtimeoptions.v1.Options` and `containerd.runc.v1.Options`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from pelagos_core.api import runc_options_pb2
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.config import node_file
from pelagos_core.config.node_file import Config
from pelagos_core.errors import InvalidArgument

log = logging.getLogger(__name__)

_OURS = "runtimeoptions.v1.Options"
_RUNC = "containerd.runc.v1.Options"
_WHAT = "runtime options"
_FILE = f"{_WHAT}: config"
_SHIM_CGROUP = "ShimCgroup"

# Options of runc that are not needed: the form of `linux.cgroupsPath` selects the driver, and a process' user is the
# owner of its streams in any case.
_NOT_NEEDED = frozenset({"SystemdCgroup", "IoUid", "IoGid"})
_WITHOUT_EFFECT = {
    "NoPivotRoot": "the root is always changed by pivot_root(2)",
    "NoNewKeyring": "a native program always has its own session keyring",
    "BinaryName": "runc is not executed",
    "Root": "there is no state directory of runc",
    "CriuPath": "checkpoints are not supported",
    "CriuImagePath": "checkpoints are not supported",
    "CriuWorkPath": "checkpoints are not supported",
    "TaskApiAddress": "the task API is served at the address that `start` prints",
    "TaskApiVersion": "versions 2 and 3 of the task API are both served",
}
_OF_RUNC = _NOT_NEEDED | _WITHOUT_EFFECT.keys() | {_SHIM_CGROUP}
_OF_CRI = frozenset({"TypeUrl", "ConfigPath"})  # CRI's own keys, in the table that it sends as a whole

_warned: set[str] = set()  # one warning for each option is enough


def parse(options: Any) -> Config:
    """Parse the options. Returns an empty config if there are none, or if they are of another type.

    Raises InvalidArgument, PermissionDenied or NotFound that names the type, the file or the key. In the daemon.
    """
    kind = options.type_url.rpartition("/")[2]
    if not kind and not options.value:
        return Config()
    if kind == _RUNC:
        return _with_runc(Config(), _runc_fields(options.value))
    if kind != _OURS:
        log.warning("runtime options of type %r are ignored", kind)
        return Config()
    try:
        message = Options.FromString(options.value)
    except DecodeError:
        raise InvalidArgument(f"{_WHAT}: not a {_OURS}") from None
    if message.config_path:
        if not message.config_path.startswith("/"):
            raise InvalidArgument(f"{_WHAT}: config path {message.config_path!r} is not absolute")
        return _checked(node_file.load(message.config_path, _FILE), f"{_FILE} {message.config_path!r}")
    found = _checked(node_file.parse(message.config_body, _WHAT, _OF_RUNC | _OF_CRI), _WHAT)
    table = node_file.table(message.config_body, _WHAT)
    return _with_runc(found, {name: value for name, value in table.items() if name in _OF_RUNC})


def _runc_fields(value: bytes) -> Mapping[str, object]:
    """The fields that are set in runc's message, by their names in TOML."""
    try:
        message = runc_options_pb2.Options.FromString(value)
    except DecodeError:
        raise InvalidArgument(f"{_WHAT}: not a {_RUNC}") from None
    fields = message.ListFields()
    return {"".join(word.capitalize() for word in field.name.split("_")): value for field, value in fields}


def _with_runc(options: Config, fields: Mapping[str, object]) -> Config:
    for name in sorted(_WITHOUT_EFFECT.keys() & fields.keys() - _warned):
        if fields[name]:
            _warned.add(name)
            log.warning("%s: %s has no effect: %s", _WHAT, name, _WITHOUT_EFFECT[name])
    group = fields.get(_SHIM_CGROUP, "")
    if not isinstance(group, str):
        raise InvalidArgument(f"{_WHAT}: {_SHIM_CGROUP}: not a string")
    if group and (not group.startswith("/") or ".." in group.split("/") or "\0" in group):
        raise InvalidArgument(f"{_WHAT}: {_SHIM_CGROUP}: {group!r} is not an absolute path without '..'")
    return replace(options, shim_cgroup=group)


def _checked(options: Config, what: str) -> Config:
    if options.backends:
        raise InvalidArgument(f"{what}: a backend's settings belong in the node's config, {node_file.PATH}")
    if options.cache != Config().cache:
        raise InvalidArgument(f"{what}: the settings of the cache belong in the node's config, {node_file.PATH}")
    if options.zygote_idle_seconds is not None:
        raise InvalidArgument(f"{what}: zygote_idle_seconds belongs in the node's config, {node_file.PATH}")
    if options.host_network is not None:
        raise InvalidArgument(f"{what}: host_network belongs in the node's config, {node_file.PATH}")
    if options.seccomp:
        raise InvalidArgument(
            f"{what}: seccomp belongs in the node's config, {node_file.PATH}; here it is wasm.seccomp"
        )
    return options
