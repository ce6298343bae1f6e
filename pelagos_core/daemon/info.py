"""`-info`: name, version and features of this runtime, as a containerd.types.RuntimeInfo."""

from __future__ import annotations

import json
import os
import sys

from pelagos_core import __version__
from pelagos_core.api.introspection_pb2 import RuntimeInfo
from pelagos_core.backends.installed import load_waiting
from pelagos_core.backends.registry import Backends
from pelagos_core.linux import capabilities
from pelagos_core.linux.namespaces import CLONE_FLAGS
from pelagos_core.rootfs.mount_options import OPTION_WORDS

NAME = "io.containerd.pelagos.wasm.v1"
_FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"


def runtime_info(backends: Backends) -> RuntimeInfo:
    """Build the answer. `annotations` contains each backend with its version."""
    info = RuntimeInfo(name=NAME)
    info.version.version = __version__
    info.features.type_url = _FEATURES
    info.features.value = json.dumps(_features()).encode()
    for backend in backends.installed:
        info.annotations[f"io.pelagos.wasm.backend.{backend.name}"] = backend.version
    return info


def _features() -> dict[str, object]:
    """The OCI runtime spec's features structure (features.md)."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": sorted(OPTION_WORDS),
        "linux": {
            "namespaces": sorted(CLONE_FLAGS),
            "capabilities": list(capabilities.NUMBERS),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
    }


def main() -> None:
    """Print the answer on stdout. Output of backends during their import goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)
    os.write(out, runtime_info(load_waiting().backends).SerializeToString())
    sys.stdout.flush()
