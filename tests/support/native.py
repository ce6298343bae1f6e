"""Makes bundles of native programs: the host's programs, mounted read-only in a separate root."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support.bundles import change_config, make_bundle

SPEC_MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
]
"""The `linux` section that `ctr run` and the CRI write, without control groups."""


def native_bundle(directory: Path, *args: str, **process: object) -> Path:
    """Make a bundle that can run the host's programs. args: argv."""
    bundle = make_bundle(directory, *args, **process)
    volumes = []
    for name in ("bin", "sbin", "lib", "lib64", "usr"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), bundle / "rootfs" / name)
        elif os.path.isdir(f"/{name}"):
            volumes.append(
                {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
            )
    change_config(bundle, mounts=[*SPEC_MOUNTS, *volumes])
    return bundle


def shell(directory: Path, script: str, **process: object) -> Path:
    """Make a bundle that runs a script in the host's sh."""
    process.setdefault("env", ["PATH=/usr/bin:/bin"])
    return native_bundle(directory, "/bin/sh", "-c", script, **process)


def config_of(bundle: Path) -> Any:
    return json.loads((bundle / "config.json").read_text())


def change_linux(bundle: Path, **fields: object) -> None:
    """Replace fields of a bundle's `linux`."""
    change_config(bundle, linux={**config_of(bundle)["linux"], **fields})
