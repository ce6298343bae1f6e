"""Ranges of ids, read and refused."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import IdMap, IdMaps
from pelagos_core.oci.field import Field
from pelagos_core.oci.id_maps import parse_option, read_id_maps


def read(**fields):
    return read_id_maps(Field("linux", fields))


def test_ranges_are_read():
    one = {"containerID": 0, "hostID": 100000, "size": 65536}
    assert read(uidMappings=[one], gidMappings=[one, {"containerID": 70000, "hostID": 5, "size": 1}]) == IdMaps(
        (IdMap(0, 100000, 65536),), (IdMap(0, 100000, 65536), IdMap(70000, 5, 1))
    )
    assert not read()


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([{"containerID": 0, "hostID": 1}], "uidMappings.*: size 0"),
        ([{"containerID": -1, "hostID": 1, "size": 1}], "containerID: -1 is not between"),
        ([{"containerID": 0, "hostID": 1, "size": 1}] * 341, "more than 340 ranges"),
    ],
)
def test_a_wrong_range_is_refused(ranges, message):
    with pytest.raises(InvalidArgument, match=message):
        read(uidMappings=ranges)


def test_an_option_of_containerd_is_read():
    assert parse_option("0:100000:65536") == (IdMap(0, 100000, 65536),)
    assert parse_option("0:1:2,3:4:5") == (IdMap(0, 1, 2), IdMap(3, 4, 5))
    for text in ("", "0:1", "0:1:2:3", "a:b:c", "0:1:2,"):
        with pytest.raises(InvalidArgument, match="not a list of id ranges"):
            parse_option(text)


def test_a_user_outside_is_found_by_its_range():
    maps = IdMaps((IdMap(0, 100000, 10), IdMap(1000, 5, 1)))
    assert [maps.user_outside(uid) for uid in (0, 9, 10, 1000, 1001)] == [100000, 100009, None, 5, None]
