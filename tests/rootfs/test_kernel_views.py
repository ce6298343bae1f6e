"""What is mounted in a container in the end, whatever it was called when it was asked for."""

import os
import subprocess
from pathlib import Path

import pytest

from pelagos_core.errors import Internal, PermissionDenied
from pelagos_core.isolation.devices import ForbidDevices
from pelagos_core.isolation.engine_root import EncloseRoot
from pelagos_core.isolation.filesystem import CheckEngineShield, ShieldEngine
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.oci import IdMap, IdMaps, Mount
from pelagos_core.rootfs.propagation import make_mounts_private
from tests.support.child import in_child
from tests.support.roots import assembled, enter, mount, take

BIND = 4096

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
        take(root, ForbidDevices(), ShieldEngine(tuple(volumes)))
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
    """A process that shares the directory with the guest may move it into sight."""
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
        take(root, ForbidDevices(), ShieldEngine(()))
        with open("/proc/self/mountinfo") as file:
            below = [line.split()[4] for line in file if f" {tmp_path}" in line]
        enter(root)
        return below, os.listdir("/"), os.stat("/file").st_uid

    assert in_child(run) == ([str(tmp_path / "root")], ["file"], 100000)


@pytest.mark.parametrize("word", ["shared", "rshared", "slave", "rslave"])
def test_what_would_come_in_later_is_refused(tmp_path, word):
    with pytest.raises(PermissionDenied, match="mount on '/volume': a Wasm guest cannot have a shared or slave mount"):
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
        take(root, ForbidDevices(), ShieldEngine(()))
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
    for source in (str(tmp_path / "mem"), "/dev/ptmx"):
        with pytest.raises(PermissionDenied, match="mount on '/mem': a device"):
            shielded(tmp_path, [*volumes, Mount("/mem", "bind", source, ("bind",))], list)


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup2", "devtmpfs", "debugfs", "bpf", "mqueue", "devpts"])
def test_a_view_of_the_kernel_is_reported_by_its_type(tmp_path, kind):
    if kind not in {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}:
        pytest.skip(f"this kernel has no {kind}")
    (tmp_path / "k").mkdir()

    def prepare():
        subprocess.run(["mount", "-t", kind, kind, tmp_path / "k"], check=True)

    with pytest.raises(PermissionDenied, match=f"mount on '/a': {kind}: a Wasm guest could access"):
        shielded(tmp_path, [Mount("/a", "bind", str(tmp_path / "k"), ("rbind",))], list, prepare)


def test_what_lies_on_top_of_a_view_of_the_kernel_does_not_hide_it(tmp_path):
    volumes = [Mount("/a", "bind", "/proc/self/environ", ()), Mount("/a", "bind", "/dev/null", ())]
    with pytest.raises(PermissionDenied, match="mount on '/a': proc"):
        shielded(tmp_path, volumes, list)


def test_names_that_the_kernel_writes_in_another_way_are_found(tmp_path):
    root = tmp_path / "r o\\o\tt"
    root.mkdir()
    (root / "vol\\ume/p\nq r").mkdir(parents=True)
    volume = Mount("/vol\\ume", "bind", str(root / "vol\\ume"), ("rbind",))

    def prepare():
        subprocess.run(["mount", "-t", "proc", "proc", root / "vol\\ume/p\nq r"], check=True)

    assert shielded(root, [volume], lambda: os.listdir("/vol\\ume/p\nq r"), prepare) == []
    with pytest.raises(PermissionDenied, match=r"mount on '/s\\\\t\\tu v': proc"):
        shielded(root, [Mount("/s\\t\tu v", "bind", "/proc", ("rbind",))], list)


def hooked(directory, hook, volumes=(), enclosed=False):
    """Have a hook mount something once a root is shielded, and look again, in a child."""
    (directory / "root").mkdir(exist_ok=True)

    def run():
        root = assembled(directory / "root")
        mount(root, *volumes)
        take(root, ForbidDevices(), ShieldEngine(volumes), *([EncloseRoot()] if enclosed else []))
        hook(directory / "root")
        take(root, CheckEngineShield())

    in_child(run)


def test_what_a_hook_mounts_is_refused_if_it_shows_the_kernel(tmp_path):
    hooked(tmp_path, lambda root: subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True))
    with pytest.raises(PermissionDenied, match="mount on '/': proc"):
        hooked(tmp_path, lambda root: subprocess.run(["mount", "-t", "proc", "proc", root], check=True))


def test_a_device_may_be_there_twice_as_in_an_engine_root(tmp_path):
    volumes = (Mount("/null", "bind", "/dev/null", ()), Mount("/null", "bind", "/dev/null", ()))
    hooked(tmp_path, lambda root: None, volumes)
    hooked(tmp_path, lambda root: None, volumes, enclosed=True)


def test_a_covered_device_that_could_be_opened_is_refused(tmp_path):
    def hook(root):
        (root / "deep").mkdir()
        (root / "deep/null").touch()
        subprocess.run(["mount", "--bind", "/dev/null", root / "deep/null"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "deep"], check=True)

    with pytest.raises(PermissionDenied, match=r"mount on '/deep/null': it cannot be checked .*, devtmpfs"):
        hooked(tmp_path, hook)


def test_more_mounts_than_can_be_looked_at_are_an_error(tmp_path):
    (tmp_path / "root").mkdir()

    def run():
        root = assembled(tmp_path / "root")
        # Each time as many as there are.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "root"], check=True)
        root = assembled(tmp_path / "root", unshare=False)
        for number in range(14):
            os.mkdir(tmp_path / f"root/{number}")
            syscalls.mount(str(tmp_path / "root"), str(tmp_path / f"root/{number}"), "", BIND | syscalls.MS_REC, "")
        take(root, ShieldEngine(()))

    with pytest.raises(Internal, match="remove views of the kernel: Value too large"):
        in_child(run)
