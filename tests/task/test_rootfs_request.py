"""The mounts of a Create request: checked, and led into the container's root."""

import pytest

from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.oci import IdMaps, Mount
from pelagos_core.task.rootfs_request import rootfs_mounts


def test_a_target_is_inside_the_root(tmp_path):
    message = MountMessage(type="bind", source=str(tmp_path), target="a/b", options=["ro"])
    assert rootfs_mounts([message]) == (Mount("/a/b", "bind", str(tmp_path), ("ro",), IdMaps((), ())),)


def test_mapped_ids_are_no_options():
    message = MountMessage(type="overlay", source="overlay", options=["uidmap=0:1000:10", "ro", "gidmap=0:2000:20"])
    (mount,) = rootfs_mounts([message])
    assert mount.options == ("ro",)
    assert [(each.inside, each.outside, each.size) for each in mount.id_maps.users] == [(0, 1000, 10)]
    assert [(each.inside, each.outside, each.size) for each in mount.id_maps.groups] == [(0, 2000, 20)]


@pytest.mark.parametrize(
    ("fields", "kind", "match"),
    [
        ({"type": "bind", "source": "/proc/none/such"}, NotFound, "'/proc/none/such': it does not exist"),
        ({"source": "/x"}, InvalidArgument, "'/x': has no type"),
        ({"type": "bind", "source": "/x\0"}, InvalidArgument, "NUL"),
        ({"type": "bind", "source": "/", "options": ["r\0"]}, InvalidArgument, "NUL"),
    ],
)
def test_what_cannot_be_mounted_is_named(fields, kind, match):
    with pytest.raises(kind, match=match):
        rootfs_mounts([MountMessage(**fields)])
