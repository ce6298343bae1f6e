"""A bundle on disk, read and checked."""

import pytest

from pelagos_core.errors import InvalidArgument, NotFound
from pelagos_core.oci import Mount
from pelagos_core.plugin.bundle import Bundle
from tests.support.bundles import change_config, make_bundle


def test_a_bundle_knows_where_its_root_is(tmp_path):
    path = make_bundle(tmp_path / "c1")
    assert Bundle.load(str(path), "c1", "ns").root == f"{path}/rootfs"
    change_config(path, root={"path": "/images/x"})
    assert Bundle.load(str(path), "c1", "ns").root == "/images/x"
    # containerd mounts a rootfs list on <bundle>/rootfs whatever root.path says
    assert Bundle.load(str(path), "c1", "ns", [Mount("/", "bind", "/x")]).root == f"{path}/rootfs"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda path: (path / "config.json").unlink(), NotFound, "has no config"),
        (
            lambda path: ((path / "config.json").unlink(), (path / "config.json").mkdir()),
            InvalidArgument,
            "a directory",
        ),
        (lambda path: (path / "config.json").write_text("["), InvalidArgument, "not JSON"),
    ],
)
def test_a_damaged_bundle_is_refused_by_the_containers_name(tmp_path, damage, error, message):
    path = make_bundle(tmp_path / "c1")
    damage(path)
    with pytest.raises(error, match=f"container 'c1': .*{message}"):
        Bundle.load(str(path), "c1", "ns")


@pytest.mark.parametrize("path", ["", "relative", "/a\0b"])
def test_a_path_that_is_not_absolute_is_refused(path):
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        Bundle.load(path, "c1", "ns")


def test_a_bad_id_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(InvalidArgument, match="container id"):
        Bundle.load(str(tmp_path), "../x", "ns")
