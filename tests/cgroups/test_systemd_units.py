"""Scopes and their properties: what is asked of systemd, as values."""

import os
import re
from dataclasses import replace

import pytest

from pelagos_core.cgroups import controllers_v1, controllers_v2, systemd_units
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.cgroups.systemd_units import Scope, devices, limits
from pelagos_core.errors import InvalidArgument
from pelagos_core.oci.resources import BlockIO, Cpu, DeviceRule, DeviceValue, Memory, Resources

MIB = 1 << 20
NO_LIMIT = ("t", 2**64 - 1)
NEW = 252


@pytest.fixture
def booted(tmp_path, monkeypatch):
    """A host whose first process is systemd, and root."""
    monkeypatch.setattr(systemd_units, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("kubepods-besteffort-pod1.slice:cri-containerd:abc", ("kubepods-besteffort-pod1.slice", "cri-containerd-abc")),
        (":cri:abc", ("system.slice", "cri-abc")),
        ("a.slice::abc", ("a.slice", "abc")),
        ("-.slice:x:abc", ("-.slice", "x-abc")),
    ],
)
def test_a_path_of_systemds_form_names_a_scope(booted, path, scope):
    assert Scope.of(path) == Scope(f"{scope[1]}.scope", scope[0])


@pytest.mark.parametrize("path", ["", "/a/b", "a:b", "a.slice:x:b.slice", "/a:b:c"])
def test_another_path_is_a_plain_group(booted, path):
    assert Scope.of(path) is None


@pytest.mark.parametrize("path", ["a.slice:x:a b", "a.slice:x:é", f"a.slice:x:{'n' * 300}", "no-slice:x:y"])
def test_what_is_no_unit_is_refused(booted, path):
    with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
        Scope.of(path)


def test_without_systemd_or_root_it_is_a_plain_group(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd_units, "_BOOTED", str(tmp_path / "none"))
    assert Scope.of(":cri:abc") is None
    monkeypatch.setattr(systemd_units, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Scope.of(":cri:abc") is None


def of_v2(**resources):
    return dict(limits(controllers_v2.writes(Resources(**resources), lambda file: ""), NEW))


def of_v1(**resources):
    return dict(limits(controllers_v1.writes(Resources(**resources), lambda file: ""), NEW))


def test_each_limit_that_systemd_knows_is_a_property_of_the_scope():
    memory, cpu = Memory(limit=64 * MIB, swap=96 * MIB, reservation=MIB), Cpu(shares=1024, cpus="0-1,9", mems="0")
    block_io = BlockIO(weight=10)
    assert of_v2(memory=memory, cpu=cpu, pids=7, block_io=block_io) == {
        "MemoryMax": ("t", 64 * MIB),
        "MemorySwapMax": ("t", 32 * MIB),
        "MemoryLow": ("t", MIB),
        "CPUWeight": ("t", 100),
        "AllowedCPUs": ("ay", [0b11, 0b10]),
        "AllowedMemoryNodes": ("ay", [1]),
        "TasksMax": ("t", 7),
        "IOWeight": ("t", 1),
    }
    assert of_v1(memory=Memory(limit=64 * MIB), cpu=Cpu(shares=512), pids=7, block_io=block_io) == {
        "MemoryLimit": ("t", 64 * MIB),
        "CPUShares": ("t", 512),
        "TasksMax": ("t", 7),
        "BlockIOWeight": ("t", 10),
    }


def test_no_limit_is_a_property_too():
    assert of_v2(memory=Memory(limit=-1), pids=-1) == {
        "MemoryMax": NO_LIMIT,
        "MemorySwapMax": NO_LIMIT,
        "TasksMax": NO_LIMIT,
    }


@pytest.mark.parametrize("of", [of_v1, of_v2])
def test_a_quota_is_rounded_up_to_what_systemd_keeps(of):
    assert of(cpu=Cpu(quota=25_000, period=100_000))["CPUQuotaPerSecUSec"] == ("t", 250_000)
    assert of(cpu=Cpu(quota=25_001, period=100_000))["CPUQuotaPerSecUSec"] == ("t", 260_000)
    assert of(cpu=Cpu(quota=25_000, period=50_000)) == {
        "CPUQuotaPerSecUSec": ("t", 500_000),
        "CPUQuotaPeriodUSec": ("t", 50_000),
    }
    assert of(cpu=Cpu(quota=-1))["CPUQuotaPerSecUSec"] == NO_LIMIT


def test_the_weight_of_one_device_is_not_the_containers():
    block_io = BlockIO(weights=(DeviceValue("8:0", 500),))
    assert of_v2(block_io=block_io) == {}
    assert of_v2(block_io=replace(block_io, weight=10)) == {"IOWeight": ("t", 1)}


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("memory.max", "1G"),
        ("memory.max", "-5"),
        ("pids.max", str(2**64)),
        ("cpu.max", "1000 0"),
        ("cpu.max", ""),
        ("cpuset.cpus", "0-99999999999"),
        ("cpuset.cpus", "0-7:2/4"),
        ("io.weight", "8:0 500"),
    ],
)
def test_what_systemd_has_no_form_for_is_refused_and_named(file, value):
    with pytest.raises(InvalidArgument, match=re.escape(f"control file {file!r}: {value!r}")):
        of_v2(unified={file: value})


def test_a_quota_alone_has_the_kernels_period():
    assert of_v2(unified={"cpu.max": "50000"})["CPUQuotaPerSecUSec"] == ("t", 500_000)


def test_an_old_systemd_gets_no_unknown_properties():
    writes = controllers_v2.writes(Resources(cpu=Cpu(quota=1000, period=2000, cpus="0")), lambda file: "")
    assert dict(limits(writes, 239)) == {"CPUQuotaPerSecUSec": ("t", 500_000)}


def test_devices_are_named_as_systemd_takes_them():
    allowed = devices(DevicePolicy.of([DeviceRule(False)]))
    assert allowed[0] == ("DevicePolicy", ("s", "strict"))
    ((_, (_, pairs)),) = allowed[1:]
    assert ("/dev/char/1:3", "rwm") in pairs
    assert ("char-*", "m") in pairs
    assert ("block-*", "m") in pairs
    assert ("char-pts", "rwm") in pairs


def test_a_policy_that_systemd_cannot_say_is_left_to_the_group():
    open_but_one = DevicePolicy.of([DeviceRule(True), DeviceRule(False, "b", 8, 0, "rwm")])
    assert devices(open_but_one) == [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
