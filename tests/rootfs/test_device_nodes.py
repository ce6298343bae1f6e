"""Device nodes of a native container; tests/isolation/test_devices.py makes some."""

import os
import stat

from pelagos_core.rootfs import device_nodes


def test_the_default_ones_are_those_of_the_runtime_spec_and_of_this_host():
    for device in device_nodes.DEFAULT:
        found = os.stat(device.path)
        assert stat.S_ISCHR(found.st_mode)
        assert found.st_rdev == os.makedev(device.major, device.minor)
