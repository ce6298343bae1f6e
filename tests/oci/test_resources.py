"""linux.resources: what is read of it, and what is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import Resources
from pelagos_core.oci.field import Field
from pelagos_core.oci.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    DeviceValue,
    HugepageLimit,
    Memory,
    RdmaLimit,
    read_resources,
)

WHOLE = {
    "memory": {
        "limit": 1 << 20, "reservation": 5, "swap": 2 << 20, "kernel": -1, "kernelTCP": 6, "swappiness": 0,
        "disableOOMKiller": True, "useHierarchy": True, "checkBeforeUpdate": True,
    },
    "cpu": {
        "shares": 512, "quota": -1, "burst": 7, "period": 100000, "realtimeRuntime": 8, "realtimePeriod": 9,
        "cpus": "0-1,3", "mems": "0", "idle": 1,
    },
    "pids": {"limit": 100},
    "blockIO": {
        "weight": 10, "leafWeight": 1000,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 20, "leafWeight": 30}, {"major": 8, "minor": 1}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000}],
    "rdma": {"mlx5_1": {"hcaHandles": 3}},
    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
    "unified": {"memory.high": "5000000", "hugetlb.2MB.max": "0"},
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "r"},
    ],
}  # fmt: skip


def read(resources):
    return read_resources(Field.parse("config.json: linux.resources", json.dumps(resources).encode()))


def test_everything_is_read():
    assert read(WHOLE) == Resources(
        memory=Memory(1 << 20, 5, 2 << 20, 6, 0, True, True),
        cpu=Cpu(512, -1, 7, 100000, 8, 9, "0-1,3", "0", 1),
        pids=100,
        block_io=BlockIO(
            weight=10,
            leaf_weight=1000,
            weights=(DeviceValue("8:0", 20),),
            leaf_weights=(DeviceValue("8:0", 30),),
            read_bps=(DeviceValue("8:0", 600),),
            write_iops=(DeviceValue("8:16", 0),),
        ),
        hugepages=(HugepageLimit("2MB", 9223372036854772000),),
        rdma=(RdmaLimit("mlx5_1", 3, None),),
        class_id=1048577,
        priorities=(("eth0", 500),),
        unified={"memory.high": "5000000", "hugetlb.2MB.max": "0"},
        devices=(DeviceRule(False), DeviceRule(True, "c", 10, None, "r")),
    )


@pytest.mark.parametrize("nothing", [{}, {"memory": None, "cpu": {}, "pids": {"limit": 0}, "blockIO": {"weight": 0}}])
def test_what_is_absent_null_or_zero_asks_for_nothing(nothing):
    assert read(nothing) == Resources()


def test_dockers_ways_to_say_nothing_are_known():
    assert read({"memory": {"swappiness": -1}}) == read({"memory": {"swappiness": 2**64 - 1}}) == Resources()
    assert read({"devices": []}).devices == ()


def test_a_device_rule_without_access_allows_nothing_and_denies_everything():
    assert [rule.access for rule in read({"devices": [{"allow": True}, {"allow": False}]}).devices] == ["", "rwm"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memory": {"limit": -2}}, r"resources\.memory\.limit: -2 is not between"),
        ({"memory": {"limit": 1 << 70}}, r"memory\.limit: \d+ is not between"),
        ({"memory": {"limit": 9, "swap": 8}}, r"memory\.swap: less than the memory limit"),
        ({"memory": {"swappiness": 101}}, r"memory\.swappiness: 101"),
        ({"memory": {"limit": "64m"}}, r"memory\.limit: not an integer"),
        ({"memory": {"newest": 1}}, r"memory\['newest'\]: not supported"),
        ({"teleport": {}}, r"resources\['teleport'\]: not supported"),
        ({"cpu": {"cpus": "0;1"}}, r"cpu\.cpus: '0;1' is not a list"),
        ({"cpu": {"idle": 2}}, r"cpu\.idle: 2"),
        ({"pids": {"limit": -5}}, r"pids\.limit: -5"),
        ({"blockIO": {"weight": 9}}, r"blockIO\.weight: 9 is not between 10 and 1000"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, r"hugepageLimits\[0\]\.pageSize: '\.\./x'"),
        ({"rdma": {"a b": {}}}, "'a b' is not a device's name"),
        ({"network": {"priorities": [{"name": "eth0\n1", "priority": 1}]}}, r"priorities\[0\]\.name: 'eth0\\n1'"),
        ({"unified": {"../x": "1"}}, "not the name of a control file"),
        ({"unified": {"cgroup.procs": "1"}}, "only the runtime may write this file"),
        ({"devices": [{"allow": True, "type": "u"}]}, r"devices\[0\]\.type: 'u' is unknown"),
        ({"devices": [{"allow": True, "access": "x"}]}, r"devices\[0\]\.access: 'x' has other letters than r, w and m"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(resources, message):
    with pytest.raises(InvalidArgument, match=message):
        read(resources)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, *WHOLE["memory"]]), inner),
    max_leaves=10,
)


@given(JSON)
def test_any_value_is_read_or_refused(value):
    try:
        assert isinstance(read(value), Resources)
    except InvalidArgument:
        pass
