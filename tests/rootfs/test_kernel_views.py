"""What is mounted in a container in the end, whatever it was called when it was asked for."""

import os
import subprocess

import pytest

from pelagos_core.errors import PermissionDenied
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.oci import IdMap, IdMaps, Mount
from pelagos_core.rootfs import kernel_views
from pelagos_core.rootfs.propagation import make_mounts_private
from tests.support.child import in_child
from tests.support.roots import assembled, enter, mount

pytestmark = [pytest.mark.root]


def shielded(directory, volumes, look, prepare=lambda: None):
    """Mount volumes on a root, put the shield up, and look at what is left, in a child."""
    (directory / "root").mkdir(exist_ok=True)

    def run():
        namespaces.unshare(["mount"])
        make_mounts_private()
        prepare()
        root = assembled(directory / "root", unshare=False)
        mount(root, *volumes)
        kernel_views.remove(root, tuple(volumes))
        enter(root)
        return look()

    return in_child(run)


@pytest.mark.parametrize("source", ["/proc", "/proc/self/../1", "/proc/self/fd", "/sys", "/proc/self/environ"])
def test_a_view_of_the_kernel_that_is_asked_for_is_refused(tmp_path, source):
    with pytest.raises(PermissionDenied, match="mount on '/a/view': "):
        shielded(tmp_path, [Mount("/a/view", "bind", source, ("rbind", "ro"))], list)


def test_it_is_refused_also_behind_a_link_of_the_image(tmp_path):
    (tmp_path / "root/real").mkdir(parents=True)
    (tmp_path / "root/link").symlink_to("/real")
    with pytest.raises(PermissionDenied, match="mount on '/real/view': proc"):
        shielded(tmp_path, [Mount("/link/view", "bind", "/proc", ("rbind",))], list)


def test_what_a_volume_brings_along_is_gone_and_the_rest_is_there(tmp_path):
    for path in ("volume/deep/er", "volume/plain"):
        (tmp_path / path).mkdir(parents=True)
    volume = Mount("/volume", "bind", str(tmp_path / "volume"), ("rbind",))

    def prepare():
        for kind, path in (("proc", "deep"), ("tmpfs", "plain"), ("sysfs", "deep/fs")):
            subprocess.run(["mount", "-t", kind, kind, tmp_path / "volume" / path], check=True)
        (tmp_path / "volume/plain/file").write_text("kept")

    def look():
        return sorted(os.listdir("/volume/deep")), os.listdir("/volume/plain")

    assert shielded(tmp_path, [volume], look, prepare) == (["er"], ["file"])


def test_several_on_one_place_are_all_taken_away(tmp_path):
    (tmp_path / "volume/p").mkdir(parents=True)
    volume = Mount("/volume", "bind", str(tmp_path / "volume"), ("rbind",))

    def prepare():
        for kind in ("proc", "sysfs", "proc"):
            subprocess.run(["mount", "-t", kind, kind, tmp_path / "volume/p"], check=True)

    assert shielded(tmp_path, [volume], lambda: os.listdir("/volume/p"), prepare) == []


def test_one_that_something_lies_on_is_refused(tmp_path):
    (tmp_path / "volume/p").mkdir(parents=True)
    volume = Mount("/volume", "bind", str(tmp_path / "volume"), ("rbind",))

    def prepare():
        for kind in ("proc", "tmpfs"):
            subprocess.run(["mount", "-t", kind, kind, tmp_path / "volume/p"], check=True)

    with pytest.raises(PermissionDenied, match="mount on '/volume/p': proc"):
        shielded(tmp_path, [volume], list, prepare)


def test_files_that_another_mount_covers_are_no_reason_to_refuse(tmp_path):
    for name in ("one", "two/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "two/deep/file").write_text("")
    volumes = [
        Mount("/data/one", "bind", str(tmp_path / "one"), ("bind",)),
        Mount("/data/two", "bind", str(tmp_path / "two/deep/file"), ("bind",)),
        Mount("/data", "tmpfs", "tmpfs"),
    ]
    assert shielded(tmp_path, volumes, lambda: os.listdir("/data")) == []


@pytest.mark.parametrize("source", ["/proc", "/proc/self/fd", "/sys"])
def test_a_view_of_the_kernel_is_refused_also_where_another_mount_covers_it(tmp_path, source):
    """Whoever shares the directory with the guest may move it into sight."""
    volumes = [Mount("/data/view", "bind", source, ("rbind", "ro")), Mount("/data", "tmpfs", "tmpfs")]
    with pytest.raises(PermissionDenied, match="mount on '/data/view': "):
        shielded(tmp_path, volumes, list)


def test_the_mapped_layers_of_a_root_are_no_reason_to_refuse_and_out_of_reach(tmp_path):
    for name in ("a", "b", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/file").write_text("a")
    dirs = f"lowerdir={tmp_path}/a:{tmp_path}/b", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work"
    one = (IdMap(0, 100000, 65536),)

    def run():
        root = assembled(tmp_path / "root", (Mount("/", "overlay", "overlay", dirs, IdMaps(one, one)),))
        kernel_views.remove(root, ())
        with open("/proc/self/mountinfo") as file:
            below = [line.split()[4] for line in file if f" {tmp_path}" in line]
        enter(root)
        return below, os.listdir("/"), os.stat("/file").st_uid

    assert in_child(run) == ([str(tmp_path / "root")], ["file"], 100000)


@pytest.mark.parametrize("word", ["shared", "rshared", "slave", "rslave"])
def test_what_would_come_in_later_is_refused(tmp_path, word):
    with pytest.raises(PermissionDenied, match="mount on '/volume': what the host mounts there later"):
        shielded(tmp_path, [Mount("/volume", "bind", str(tmp_path), ("rbind", word))], list)


def test_what_the_host_mounts_later_does_not_come_in(tmp_path):
    """Even where the root's mounts were peers of the host's."""
    (tmp_path / "volume/later").mkdir(parents=True)
    (tmp_path / "volume/later/file").write_text("")
    (tmp_path / "root").mkdir()

    def run():
        namespaces.unshare(["mount"])
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        host = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        namespaces.unshare(["mount"])
        root = assembled(tmp_path / "root", unshare=False)
        mount(root, Mount("/volume", "bind", str(tmp_path / "volume"), ("rbind",)))
        kernel_views.remove(root, ())
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        syscalls.setns(host, 0)
        subprocess.run(["mount", "-t", "proc", "proc", tmp_path / "volume/later"], check=True)
        assert "self" in os.listdir(tmp_path / "volume/later")
        syscalls.setns(own, 0)
        return os.listdir(tmp_path / "root/volume/later")

    assert in_child(run) == ["file"]


def test_harmless_devices_may_be_mounted_and_others_not(tmp_path):
    os.mknod(tmp_path / "mem", 0o20600, os.makedev(1, 1))
    volumes = [Mount("/null", "bind", "/dev/null", ("bind",))]
    assert shielded(tmp_path, volumes, lambda: os.stat("/null").st_rdev) == os.makedev(1, 3)
    with pytest.raises(PermissionDenied, match="mount on '/mem': a device"):
        shielded(tmp_path, [*volumes, Mount("/mem", "bind", str(tmp_path / "mem"), ("bind",))], list)
