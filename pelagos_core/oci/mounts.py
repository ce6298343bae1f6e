"""`mounts` of the OCI runtime spec."""

from __future__ import annotations

from dataclasses import dataclass, field

from pelagos_core.oci.field import Field, kept
from pelagos_core.oci.id_maps import IdMaps, read_id_maps


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry of `mounts`, or of the rootfs list in a Create request."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()
    id_maps: IdMaps = field(default_factory=IdMaps)


@kept
def read_mount(mount: Field) -> Mount:
    """Read one of `mounts`. Raises InvalidArgument."""
    destination = mount.get("destination")
    path = destination.text()
    if not path.startswith("/"):
        destination.refuse(f"{path!r} is not absolute")
    return Mount(
        destination=path,
        type=mount.get("type").text(),
        source=mount.get("source").text(),
        options=mount.get("options").texts(),
        id_maps=read_id_maps(mount),
    )
