"""Mounts that are attached as they are asked for, in a mount namespace of their own."""

import os
from pathlib import Path

import pytest

from pelagos_core.errors import InvalidArgument, PelagosError, PermissionDenied
from pelagos_core.isolation.filesystem import MakeWorkingDirectory
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.oci import IdMap, IdMaps, Mount
from pelagos_core.rootfs.propagation import make_mounts_private
from tests.support.child import in_child
from tests.support.roots import assembled, take
from tests.support.roots import mount as put

MAPS = IdMaps((IdMap(0, 100000, 10),), (IdMap(0, 200000, 10),))


@pytest.fixture
def image(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "source/deep").mkdir(parents=True)
    (tmp_path / "source/file").write_text("x")
    return tmp_path


def mounted(image, mount, look, before=lambda: None):
    """What `look` finds in the root, in a child, when the mount is there."""

    def run():
        namespaces.unshare(["mount"])
        make_mounts_private()
        before()
        root = assembled(image / "root", unshare=False)
        put(root, mount)
        return look(root)

    return in_child(run)


def options_of(root, path):
    """The mount's own options and its propagation, by the kernel's table."""
    where = f"{root.path}{path}"
    with open("/proc/self/mountinfo") as file:
        found = [line.split() for line in file if line.split()[4] == where]
    fields = found[-1]
    return set(fields[5].split(",")), fields[6 : fields.index("-")]


def can_write(root, path):
    try:
        os.close(root.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        return error.strerror
    return True


def bind(image, *options, **fields):
    return Mount("/m", "bind", str(image / "source"), options, **fields)


def submount(image):
    """Something writable below the source."""

    def make():
        syscalls.mount("tmpfs", str(image / "source/deep"), "tmpfs", 0, "")

    return make


@pytest.mark.root
@pytest.mark.parametrize(
    ("word", "below"),
    [("ro", True), ("rro", "Read-only file system")],
)
def test_read_only_is_for_the_mount_and_with_an_r_for_all_below(image, word, below):
    def look(root):
        return can_write(root, "/m/new"), can_write(root, "/m/deep/new")

    assert mounted(image, bind(image, "rbind", word), look, submount(image)) == ("Read-only file system", below)


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "there"),
    [
        (("nosuid", "nodev", "noexec"), {"rw", "nosuid", "nodev", "noexec"}),
        (("rnosuid", "rro", "rrw"), {"rw", "nosuid"}),
        (("noatime",), {"noatime"}),
        (("nosymfollow",), {"nosymfollow"}),
        (("noatime", "relatime"), {"relatime"}),
    ],
)
def test_attributes_are_those_of_the_words(image, words, there):
    for mount in (bind(image, "rbind", *words), Mount("/m", "tmpfs", "tmpfs", words)):
        assert there <= mounted(image, mount, lambda root: options_of(root, "/m")[0])


@pytest.mark.root
@pytest.mark.parametrize(("word", "tag"), [("shared", "shared"), ("rshared", "shared"), ("unbindable", "unbindable")])
def test_propagation_is_set_on_binds_and_file_systems(image, word, tag):
    for mount in (bind(image, "rbind", word), Mount("/m", "tmpfs", "tmpfs", (word,))):
        assert mounted(image, mount, lambda root: options_of(root, "/m")[1])[0].startswith(tag)


@pytest.mark.root
def test_ids_are_shown_through_a_map(image):
    os.chown(image / "source/file", 3, 4)

    def look(root):
        found = os.fstat(root.open("/m/file", os.O_RDONLY))
        return found.st_uid, found.st_gid

    for options in (("bind", "idmap"), ("rbind", "ridmap"), ("rbind",)):
        assert mounted(image, bind(image, *options, id_maps=MAPS), look) == (100003, 200004)


@pytest.mark.root
def test_layers_of_an_overlay_are_shown_through_a_map(image):
    for name, uid in (("a", 1), ("b", 2)):
        (image / name).mkdir()
        (image / name / name).write_text(name)
        os.chown(image / name / name, uid, uid)
    for name in ("upper", "work"):
        (image / name).mkdir()
    dirs = f"lowerdir={image}/a:{image}/b", f"upperdir={image}/upper", f"workdir={image}/work"

    def run():
        root = assembled(image / "root", (Mount("/", "overlay", "overlay", dirs, MAPS),))
        take(root, MakeWorkingDirectory("/new"))
        return [os.fstat(root.open(path, os.O_RDONLY)).st_uid for path in ("/a", "/b", "/new")]

    assert in_child(run) == [100001, 100002, 0]
    assert os.listdir(image / "upper") == ["new"]
    assert os.listdir(image / "root") == []


@pytest.mark.root
def test_a_tmpfs_is_filled_with_what_it_covers(image):
    etc = image / "root/etc"
    (etc / "sub").mkdir(parents=True)
    (etc / "file").write_text("text")
    (etc / "sub/deep").write_text("deep")
    os.symlink("/outside", etc / "link")
    os.chown(etc / "file", 5, 6)
    os.chmod(etc / "file", 0o4750)
    os.chmod(etc, 0o711)

    def look(root):
        names = sorted(os.listdir(root.open("/etc", os.O_RDONLY)))
        found = os.fstat(root.open("/etc/file", os.O_RDONLY))
        mode = os.fstat(root.open("/etc", os.O_RDONLY)).st_mode
        os.close(root.open("/etc/new", os.O_CREAT | os.O_WRONLY))
        deep = os.read(root.open("/etc/sub/deep", os.O_RDONLY), 10)
        return names, found.st_uid, found.st_gid, oct(found.st_mode), oct(mode), deep

    filled = mounted(image, Mount("/etc", "tmpfs", "tmpfs", ("tmpcopyup",)), look)
    assert filled == (["file", "link", "sub"], 5, 6, "0o104750", "0o40711", b"deep")
    assert sorted(os.listdir(etc)) == ["file", "link", "sub"]


@pytest.mark.root
def test_a_tmpfs_is_filled_with_all_of_a_large_directory_and_of_large_files(image):
    etc = image / "root/etc"
    etc.mkdir()
    for number in range(300):
        (etc / f"{number:0100}").write_text(str(number))
    (etc / "large").write_bytes(os.urandom(20 << 20))
    os.mkfifo(etc / "fifo")
    os.mknod(etc / "zero", 0o20666, os.makedev(1, 5))

    def look(root):
        names = os.listdir(root.open("/etc", os.O_RDONLY))
        with open(root.open("/etc/large", os.O_RDONLY), "rb") as file:
            return len(names), {"fifo", "zero"} & set(names), file.read() == (etc / "large").read_bytes()

    assert mounted(image, Mount("/etc", "tmpfs", "tmpfs", ("tmpcopyup",)), look) == (301, set(), True)


@pytest.mark.root
def test_a_tree_that_is_too_deep_to_copy_is_an_error(image):
    def deep(count):
        return Path(image / "root/etc", *["d"] * count)

    deep(100).mkdir(parents=True)
    copied = Mount("/etc", "tmpfs", "tmpfs", ("tmpcopyup",))
    assert mounted(image, copied, lambda root: os.path.isdir(f"{root.path}/etc{'/d' * 100}"))
    deep(101).mkdir()
    with pytest.raises(InvalidArgument, match="mount on '/etc': tmpcopyup of too many levels of directories"):
        mounted(image, copied, list)


@pytest.mark.root
def test_a_map_that_the_kernel_refuses_is_named_and_no_process_is_left(image):
    maps = IdMaps((IdMap(0, 100000, 10),), (IdMap(0, 2**32 - 1, 1),))
    with pytest.raises(PermissionDenied, match="gid_map '0 4294967295 1': Invalid argument"):
        mounted(image, bind(image, "bind", id_maps=maps), list)

    def children(_root):
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)

    mounted(image, bind(image, "bind", id_maps=MAPS), children)


@pytest.mark.root
def test_no_descriptor_is_left_open_but_of_the_root_and_of_devices(image):
    (image / "root/etc").mkdir()
    (image / "root/m/deep").mkdir(parents=True)
    mounts = [
        bind(image, "rbind", "ro", id_maps=MAPS),
        Mount("/etc", "tmpfs", "tmpfs", ("tmpcopyup",)),
        Mount("/dev/null", "bind", "/dev/null"),
    ]

    def look(root):
        before = set(os.listdir("/proc/self/fd"))
        put(root, *mounts)
        left = len(set(os.listdir("/proc/self/fd")) - before)
        for mount in (
            Mount("/etc", "bind", "/proc/none"),
            Mount("/m/file", "bind", str(image)),
            Mount("/m", "none", "x"),
        ):
            with pytest.raises(PelagosError):
                put(root, mount)
        return left, len(set(os.listdir("/proc/self/fd")) - before)

    assert mounted(image, Mount("/m", "tmpfs", "tmpfs"), look) == (1, 1)


@pytest.mark.root
@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (Mount("/m", "bind", "/tmp", ("size=1",)), "unknown option 'size=1'"),
        (Mount("/m", "bind", "/tmp", ("sync",)), "unknown option 'sync'"),
        (Mount("/m", "bind", "/tmp", ("tmpcopyup",)), "unknown option 'tmpcopyup'"),
        (Mount("/m", "bind", "/tmp", ("idmap",)), "option idmap or ridmap without an id map"),
        (Mount("/m", "mqueue", "mqueue", ("tmpcopyup",)), "tmpcopyup is for a tmpfs"),
        (Mount("/m", "tmpfs", "tmpfs", (), MAPS), "only a bind mount can have an id map"),
        (Mount("/m", "bind", "/no/such"), "mount source '/no/such': No such file"),
        (Mount("/m", "", "x", ()), "it has no type and is not a bind mount"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(image, mount, message):
    with pytest.raises(InvalidArgument, match=message):
        mounted(image, mount, lambda root: None)
