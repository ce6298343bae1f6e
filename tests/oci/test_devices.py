"""`linux.devices`, read and refused."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import Device
from pelagos_core.oci.devices import read_device
from pelagos_core.oci.field import Field

WHOLE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20660, "uid": 1, "gid": 2}


def read(value):
    return read_device(Field("linux.devices[0]", value))


def test_a_device_is_read_without_the_type_in_its_mode():
    assert read(WHOLE) == Device("/dev/fuse", "c", 10, 229, 0o660, 1, 2)
    assert read({"path": "/dev/x", "type": "p"}) == Device("/dev/x", "p")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "x"}, r"type: 'x' is none of c, u, b, p"),
        ({"path": "dev"}, r"path: 'dev' is not absolute"),
        ({"major": 4096}, r"major: 4096 is not between"),
        ({"uid": -1}, r"uid: -1 is not between"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(change, message):
    with pytest.raises(InvalidArgument, match=message):
        read({**WHOLE, **change})
