"""Devices in a container: which there are, and which can be opened."""

import os
import stat

import pytest

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.isolation.devices import ForbidDevices, LinkDevices, LinkStreams, MakeDevices
from pelagos_core.isolation.filesystem import MaskPaths
from pelagos_core.linux import syscalls
from pelagos_core.oci import Device, Mount
from tests.support.child import in_child
from tests.support.roots import assembled, mount, take
from tests.support.steps import keep_capabilities

pytestmark = [pytest.mark.root]

_CAP_MKNOD = 27


@pytest.fixture
def image(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def inside(image, use):
    """Use the root in a child that has its own mounts."""
    return in_child(lambda: use(assembled(image)))


def no_nodes():
    """Be a process that may make no device, as in a user namespace."""
    keep_capabilities(2**63 - 1 & ~(1 << _CAP_MKNOD))


def test_a_device_in_the_image_or_a_volume_opens_no_device_once_they_are_forbidden(image):
    for directory in (image, image.parent / "volume"):
        directory.mkdir(exist_ok=True)
        os.mknod(directory / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))

    def use(root):
        mount(root, Mount("/volume", "bind", str(image.parent / "volume"), ("rbind", "dev")))
        mount(root, Mount("/null", "bind", "/dev/null", ("bind",)))
        os.close(root.open("/zero", os.O_RDONLY))
        take(root, ForbidDevices())
        os.close(root.open("/null", os.O_RDWR))  # this one was asked for
        for path in ("/zero", "/volume/zero"):
            with pytest.raises(PermissionError):
                root.open(path, os.O_RDONLY)

    inside(image, use)


def test_a_device_node_is_made_as_it_is_described(image):
    def use(root):
        os.umask(0)
        take(root, MakeDevices((Device("/dev/mine", "c", 1, 3, 0o640, 7, 8),)))
        take(root, MakeDevices((Device("/dev/mine", "c", 1, 3),)))  # it is there already
        take(root, MakeDevices((Device("/dev/pipe", "p"),), mounted=True))
        fd = root.open("/dev/mine", os.O_RDWR)
        found, pipe = os.fstat(fd), os.fstat(root.open("/dev/pipe", os.O_PATH))
        return os.read(fd, 1), found.st_mode, found.st_rdev, found.st_uid, found.st_gid, pipe.st_mode

    made = (b"", stat.S_IFCHR | 0o640, os.makedev(1, 3), 7, 8, stat.S_IFIFO | 0o666)
    assert inside(image, use) == made


def test_a_device_is_not_made_over_something_else(image):
    (image / "dev").mkdir()
    (image / "dev/null").write_text("mine")
    with pytest.raises(InvalidArgument, match="device '/dev/null': the image has another file there"):
        inside(image, lambda root: take(root, MakeDevices((Device("/dev/null", "c", 1, 3),))))


def test_a_device_is_mounted_where_it_is_the_hosts(image):
    def use(root):
        take(root, MakeDevices((Device("/dev/zero", "c", 1, 5),), mounted=True), ForbidDevices())
        return os.read(root.open("/dev/zero", os.O_RDONLY), 2)

    assert inside(image, use) == b"\0\0"


def test_links_are_made_beside_what_is_there(image):
    (image / "dev").mkdir()
    (image / "dev/ptmx").write_text("")
    (image / "dev/fd").write_text("mine")

    def use(root):
        take(root, LinkDevices())

    inside(image, use)
    assert os.readlink(image / "dev/ptmx") == "pts/ptmx"
    assert (image / "dev/fd").read_text() == "mine"
    assert os.readlink(image / "dev/stdin") == "/proc/self/fd/0"


def test_a_link_of_the_streams_is_made_in_a_dev_that_is_there(image):
    inside(image, lambda root: take(root, LinkStreams()))
    assert os.listdir(image) == []
    (image / "dev").mkdir()
    (image / "dev/fd").write_text("mine")
    inside(image, lambda root: take(root, LinkStreams()))
    assert os.readlink(image / "dev/stdout") == "/proc/self/fd/1"
    assert (image / "dev/fd").read_text() == "mine"


def test_a_device_that_the_host_has_not_is_left_out(image):
    others = Device("/dev/other", "c", 1, 5), Device("/dev/zero", "c", 1, 3), Device("/dev/null", "b", 1, 3)
    inside(image, lambda root: take(root, MakeDevices(others, mounted=True)))
    assert os.listdir(image) == []


def made_without_privilege(root, device):
    no_nodes()
    take(root, MakeDevices((device,)))
    return os.read(root.open(device.path, os.O_RDONLY), 2)


def test_where_none_may_be_made_the_hosts_is_mounted(image):
    assert inside(image, lambda root: made_without_privilege(root, Device("/dev/zero", "c", 1, 5))) == b"\0\0"


@pytest.mark.parametrize(
    "device", [Device("/dev/zero", "c", 1, 3), Device("/dev/zero", "b", 1, 5), Device("/dev/none", "c", 1, 5)]
)
def test_the_hosts_node_is_mounted_only_if_it_is_the_very_device(image, device):
    with pytest.raises(PermissionDenied, match=f"device '{device.path}': .*the host has no such node"):
        inside(image, lambda root: made_without_privilege(root, device))
    assert stat.S_ISSOCK(os.stat(f"{image}{device.path}").st_mode)  # what it would be mounted on


def test_a_fifo_is_made_and_a_second_time_left(image):
    fifo = MakeDevices((Device("/run/f", "p", mode=0o600),))
    inside(image, lambda root: take(root, fifo, fifo))
    assert stat.S_ISFIFO(os.stat(image / "run/f").st_mode)


def test_a_mounted_device_that_another_mount_covers_stays_forbidden(image):
    def use(root):
        mount(root, Mount("/data/zero", "bind", "/dev/zero"))
        covered = root.open("/data/zero", os.O_PATH)
        mount(root, Mount("/data", "tmpfs", "tmpfs"), Mount("/zero", "bind", "/dev/zero"))
        take(root, ForbidDevices())
        os.close(root.open("/zero", os.O_RDONLY))
        os.open(f"/proc/self/fd/{covered}", os.O_RDONLY)

    with pytest.raises(PermissionError):
        inside(image, use)


def test_no_more_devices_are_mounted_than_can_be_kept_apart(image):
    def use(root):
        for _ in range(257):
            mount(root, Mount("/zero", "bind", "/dev/zero"))

    with pytest.raises(InvalidArgument, match="mount of '/dev/zero' on '/zero': too many devices"):
        inside(image, use)


def test_a_mask_is_made_of_the_null_device_only(image):
    (image / "secret").write_text("secret")

    def use(root):
        syscalls.mount(f"{image}/secret", "/dev/null", "", 4096, "")  # MS_BIND
        take(root, MaskPaths(("/secret",)))

    with pytest.raises(InvalidArgument, match="/dev/null of the host is not the null device"):
        inside(image, use)
