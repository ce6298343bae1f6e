"""The options of a RuntimeClass or of `ctr`, as a Create request carries them.

Source: contract of containerd's runtime v2, `runtimeoptions.v1.Options` and
`containerd.runc.v1.Options`. Clients send runc's options to any runtime, so they are
accepted; nothing in them means anything here.
"""

from __future__ import annotations

import logging

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from pelagos_core import config
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.config import Config
from pelagos_core.errors import InvalidArgument

log = logging.getLogger(__name__)

_OURS = "runtimeoptions.v1.Options"
_RUNC = "containerd.runc.v1.Options"
_WHAT = "runtime options"
_FILE = f"{_WHAT}: config"

# The CRI plugin passes its whole options table on. These are its own keys, and runc's, which
# people copy from one runtime's table to the next.
_IGNORED = frozenset(
    """
    TypeUrl ConfigPath NoPivotRoot NoNewKeyring ShimCgroup IoUid IoGid BinaryName Root CriuPath
    SystemdCgroup CriuImagePath CriuWorkPath TaskApiAddress TaskApiVersion
    """.split()
)


def parse(options: Any) -> Config:
    """The options as a config; an empty one if there are none, or of another runtime.

    Raises InvalidArgument or NotFound that names the type, the file or the key.
    """
    kind = options.type_url.rpartition("/")[2]
    if not kind and not options.value:
        return Config()
    if kind != _OURS:
        log.log(logging.DEBUG if kind == _RUNC else logging.WARNING, "runtime options of type %r are ignored", kind)
        return Config()
    try:
        message = Options.FromString(options.value)
    except DecodeError:
        raise InvalidArgument(f"{_WHAT}: not a {_OURS}") from None
    if message.config_path:
        if not message.config_path.startswith("/"):
            raise InvalidArgument(f"{_WHAT}: config path {message.config_path!r} is not absolute")
        return _checked(config.load(message.config_path, _FILE), f"{_FILE} {message.config_path!r}")
    return _checked(config.parse(message.config_body, _WHAT, _IGNORED), _WHAT)


def _checked(options: Config, what: str) -> Config:
    if options.backends:
        raise InvalidArgument(f"{what}: a backend's settings belong in the node's config, {config.PATH}")
    if options.cache != Config().cache:
        raise InvalidArgument(f"{what}: the settings of the cache belong in the node's config, {config.PATH}")
    if options.zygote_idle_seconds is not None:
        raise InvalidArgument(f"{what}: zygote_idle_seconds belongs in the node's config, {config.PATH}")
    if options.seccomp:
        raise InvalidArgument(f"{what}: seccomp belongs in the node's config, {config.PATH}; here it is wasm.seccomp")
    return options
