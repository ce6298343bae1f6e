"""Device nodes of a native container; see test_rootfs for those that are made."""

import os
import stat

import pytest

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.oci import Device
from pelagos_core.rootfs import device_nodes


def test_the_default_ones_are_those_of_the_runtime_spec_and_of_this_host():
    for device in device_nodes.DEFAULT:
        found = os.stat(device.path)
        assert stat.S_ISCHR(found.st_mode)
        assert found.st_rdev == os.makedev(device.major, device.minor)


def test_the_hosts_node_is_used_only_if_it_is_the_very_device():
    assert device_nodes.on_host(Device("/dev/zero", "c", 1, 5), os.makedev(1, 5)) == "/dev/zero"
    for device in (Device("/dev/zero", "c", 1, 3), Device("/dev/zero", "b", 1, 5), Device("/dev/none", "c", 1, 5)):
        with pytest.raises(PermissionDenied, match=f"device '{device.path}'"):
            device_nodes.on_host(device, os.makedev(device.major, device.minor))


def test_a_mask_is_made_of_the_null_device_only(monkeypatch, tmp_path):
    device_nodes.check_null()
    (tmp_path / "null").touch()
    monkeypatch.setattr(device_nodes, "NULL", str(tmp_path / "null"))
    with pytest.raises(InvalidArgument, match="is not the null device"):
        device_nodes.check_null()


def test_a_fifo_is_made_and_a_second_time_left(tmp_path):
    fifo = Device("/f", "p", mode=0o600)
    directory = os.open(tmp_path, os.O_PATH)
    try:
        assert device_nodes.make(directory, "f", fifo, 0)
        assert device_nodes.make(directory, "f", fifo, 0)
    finally:
        os.close(directory)
    assert stat.S_ISFIFO(os.stat(tmp_path / "f").st_mode)
