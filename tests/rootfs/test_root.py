"""A root made of directories that lie: nothing outside of it is read or changed."""

import contextlib
import itertools
import os
import signal
import stat

import pytest

from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, PermissionDenied
from pelagos_core.isolation.filesystem import (
    AssembleRoot,
    ChangeRoot,
    MakeRootReadonly,
    MakeWorkingDirectory,
    MaskPaths,
    MountVolume,
    ProtectPaths,
    SetRootPropagation,
)
from pelagos_core.linux import namespaces, syscalls
from pelagos_core.oci import Mount
from pelagos_core.rootfs.propagation import set_propagation
from pelagos_core.rootfs.root import Root
from tests.support.child import in_child
from tests.support.roots import assembled, mount, take

pytestmark = [pytest.mark.root]


@pytest.fixture
def image(tmp_path):
    """A root with a canary beside it that must stay as it is."""
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "app").write_text("inside")
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/secret").write_text("outside")
    yield root
    assert os.listdir(tmp_path / "canary") == ["secret"]
    assert (tmp_path / "canary/secret").read_text() == "outside"


def inside(image, use, layers=()):
    """Use the root in a child that has its own mounts."""

    return in_child(lambda: use(assembled(image, layers)))


def read(root, path):
    fd = root.open_file(path)
    return None if fd is None else os.read(fd, 100)


def test_a_file_is_found_and_a_missing_one_is_not(image):
    assert inside(image, lambda root: read(root, "/app")) == b"inside"
    assert inside(image, lambda root: read(root, "/none")) is None
    assert inside(image, lambda root: read(root, "/app/none")) is None


def read_any(root, path):
    """What any file says, a device too."""
    fd = root.open(path, os.O_RDONLY)
    return os.read(fd, 100)


@pytest.mark.parametrize(
    "target", ["../canary/secret", "../../../../../../etc/passwd", "/etc/passwd", "{canary}/secret", "/nowhere"]
)
def test_a_link_that_leads_out_leads_nowhere(image, target):
    os.symlink(target.format(canary=image.parent / "canary"), image / "link")
    assert inside(image, lambda root: read(root, "/link")) is None


def test_a_link_that_stays_inside_is_followed(image):
    os.symlink("/app", image / "link")
    os.symlink("/../../../link", image / "data/far")
    assert inside(image, lambda root: read(root, "/data/far")) == b"inside"


def test_a_magic_link_is_refused(image):
    (image / "proc").mkdir()

    def use(root):
        mount(root, Mount("/proc", "proc", "proc"))
        return read(root, "/proc/self/exe")

    with pytest.raises(PermissionDenied, match="entry point '/proc/self/exe'"):
        inside(image, use)


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "not a regular file"), (os.mkdir, "is a directory")])
def test_only_a_regular_file_is_an_entry_point(image, make, what):
    make(image / "odd")
    with pytest.raises(InvalidArgument, match=f"'/odd': {what}: permission denied"):
        inside(image, lambda root: read(root, "/odd"))


def test_a_device_of_the_image_is_no_entry_point_and_is_not_even_opened(image):
    os.mknod(image / "tty", stat.S_IFCHR | 0o666, os.makedev(5, 0))  # opening it without a terminal is an error
    with pytest.raises(InvalidArgument, match="entry point '/tty': not a regular file"):
        inside(image, lambda root: read(root, "/tty"))


def test_a_masked_file_reads_as_empty_and_a_masked_directory_is_empty(image):
    (image / "data/secret").write_text("secret")
    os.symlink("/app", image / "link")

    def use(root):
        take(root, MaskPaths(("/link", "/data", "/none", "/app/none")))
        with pytest.raises(OSError, match="Read-only"):
            root.open("/data/new", os.O_CREAT | os.O_WRONLY)
        return read_any(root, "/app"), os.listdir(root.open("/data", os.O_RDONLY | os.O_DIRECTORY))

    assert inside(image, use) == (b"", [])


@pytest.mark.parametrize("link", ["{canary}/secret", "../canary/secret", "../canary", "/"])
def test_a_mask_and_a_protection_behind_a_link_stay_inside(image, link):
    os.symlink(link.format(canary=image.parent / "canary"), image / "link")

    def use(root):
        take(root, MaskPaths(("/link/data",)), ProtectPaths(("/link/app",)))
        fd = os.open(image.parent / "canary/secret", os.O_RDWR)  # neither covered nor read-only
        return os.read(fd, 100)

    assert inside(image, use) == b"outside"


def test_a_protected_path_can_be_read_and_not_written(image):
    (image / "data/x").write_text("x")

    def use(root):
        mount(root, Mount("/data/deep", "tmpfs", "tmpfs"))
        take(root, ProtectPaths(("/data", "/none")))
        for path in ("/data/x", "/data/deep/new"):
            with pytest.raises(OSError, match="Read-only"):
                root.open(path, os.O_CREAT | os.O_WRONLY)
        os.close(root.open("/app", os.O_WRONLY))
        return read_any(root, "/data/x")

    assert inside(image, use) == b"x"


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_what_is_protected_by_path_is_not_mounted_behind_a_link(image, kind):
    os.symlink("data", image / "link")
    for destination in ("/link", "/link/deeper"):
        with pytest.raises(
            InvalidArgument, match=f"mount of '{kind}' on '{destination}': the image has a symbolic link"
        ):
            inside(image, lambda root, where=destination: mount(root, Mount(where, kind, kind)))


def test_an_image_of_many_layers_is_mounted(image):
    layers = image.parent / ("long-name-" * 10)
    for n in range(60):
        (layers / str(n)).mkdir(parents=True)
        (layers / str(n) / f"file{n}").write_text(str(n))
    option = "lowerdir=" + ":".join(str(layers / str(n)) for n in range(60))
    assert len(option) > 4096

    def use(option):
        layers = (Mount("/", "overlay", "overlay", (option,)),)
        return inside(image, lambda root: (read(root, "/file0"), read(root, "/file59"), os.getcwd()), layers)

    assert use(option) == (b"0", b"59", "/")
    with pytest.raises(InvalidArgument, match="options of over 4095 bytes"):
        use(option.replace("long", "lo\\ng"))


@pytest.mark.parametrize("link", ["{canary}", "../canary", "../../../../../../../../../{canary}"])
def test_a_mount_on_a_link_stays_inside(image, link):
    os.symlink(link.format(canary=str(image.parent / "canary")), image / "mnt")

    def use(root):
        mount(root, Mount("/mnt/sub", "tmpfs", "tmpfs"))

    # A dangling link inside the root, or a directory made inside it: never the canary.
    try:
        inside(image, use)
    except PelagosError as error:
        assert "/mnt" in str(error)


def test_mount_points_are_made_where_they_are_missing(image, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/x").write_text("mounted")

    def use(root):
        mount(root, Mount("/a/b/c", "bind", str(tmp_path / "source"), ("ro",)))
        mount(root, Mount("/etc/one", "bind", str(tmp_path / "source/x")))
        return read(root, "/a/b/c/x"), read(root, "/etc/one")

    assert inside(image, use) == (b"mounted", b"mounted")
    assert (image / "a/b/c").is_dir()
    assert (image / "etc/one").read_text() == ""


@pytest.mark.parametrize("target", ["/run/x/stub", "../run/x/stub", "../../../../run/x/stub", "/to/stub"])
@pytest.mark.parametrize("as_file", [True, False])
def test_what_a_dangling_link_leads_to_is_made_and_mounted_on(image, tmp_path, target, as_file):
    source = tmp_path / "source"
    source.write_text("mounted") if as_file else source.mkdir()
    (image / "etc").mkdir()
    (image / "etc/stub").symlink_to(target)
    (image / "to").symlink_to("run/x")

    def use(root):
        mount(root, Mount("/etc/stub", "bind", str(source)))
        found = [os.fstat(root.open(path, os.O_PATH)) for path in ("/etc/stub", "/run/x/stub")]
        return [(each.st_dev, each.st_ino) for each in found]

    expected = os.stat(source)
    assert inside(image, use) == [(expected.st_dev, expected.st_ino)] * 2
    assert os.readlink(image / "etc/stub") == target
    assert (image / "run/x/stub").is_file() == as_file
    assert sorted(os.listdir(image)) == ["app", "data", "etc", "run", "to"]


def test_what_is_behind_a_dangling_link_is_made_where_that_leads(image, tmp_path):
    (tmp_path / "source").write_text("mounted")
    (image / "var").symlink_to("/mnt/var")
    (image / "mnt").symlink_to("data")

    def use(root):
        mount(root, Mount("/var/lib/file", "bind", str(tmp_path / "source")), Mount("/var/tmp/deep", "tmpfs", "tmpfs"))
        take(root, MakeWorkingDirectory("/var/work"))
        return read(root, "/data/var/lib/file")

    assert inside(image, use) == b"mounted"
    assert sorted(os.listdir(image / "data/var")) == ["lib", "tmp", "work"]


@pytest.mark.parametrize("source", ["/etc/hosts", "/etc"])
def test_links_without_end_are_refused_by_name(image, source):
    (image / "a").symlink_to("/b")
    (image / "b").symlink_to("a")
    for path in ("/a", "/a/x"):
        with pytest.raises(InvalidArgument, match=f"'{path}.* in the container: Too many levels of symbolic links"):
            inside(image, lambda root, path=path: mount(root, Mount(path, "bind", source)))


def neighbour(image):
    """A process that shares the directory: it puts a link that leads out where a directory is made, again and again."""
    for number in itertools.count():
        with contextlib.suppress(OSError):
            os.rename(image / "new", image / f"data/{number}")
        with contextlib.suppress(OSError):
            os.symlink(image.parent / "canary", image / "new")
            os.unlink(image / "new")


def test_a_link_that_is_put_in_the_way_meanwhile_is_not_followed(image):
    (image.parent / "canary").chmod(0o777)

    def use(root):
        outcomes = set()
        for _ in range(5000):
            try:
                take(root, MakeWorkingDirectory("/new/deep"))
                outcomes.add("made")
            except PermissionDenied as error:
                outcomes.add(error.message)
        return outcomes

    pid = os.fork()
    if pid == 0:
        neighbour(image)
    try:
        what = "directory '/new/deep' in the container: {}"
        refused = {what.format(why) for why in ("Not a directory", "No such file or directory")}
        assert inside(image, use) <= {"made", *refused}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_read_only_bind_cannot_be_written_to(image, tmp_path):
    (tmp_path / "source").mkdir()

    def use(root):
        mount(root, Mount("/data", "bind", str(tmp_path / "source"), ("rbind", "ro")))
        root.open("/data/new", os.O_CREAT | os.O_WRONLY)

    with pytest.raises(OSError, match="Read-only"):
        inside(image, use)


def test_a_root_of_layers_shows_the_last_one(image, tmp_path):
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer/app").write_text("layer")
    assert inside(image, lambda root: read(root, "/app"), (Mount("/", "bind", str(tmp_path / "layer")),)) == b"layer"
    assert (image / "app").read_text() == "inside"


def test_a_layer_that_cannot_be_mounted_is_named(image):
    with pytest.raises(PelagosError, match=r"mount of 'overlay' \(overlay\) on '/'"):
        inside(image, lambda root: None, (Mount("/", "overlay", "overlay", ("lowerdir=/none",)),))


def test_after_the_pivot_the_host_is_gone(image):
    def use(root):
        take(root, MakeWorkingDirectory("/work/dir"), MakeRootReadonly(), ChangeRoot())
        try:
            os.mkdir("/new")
        except OSError as error:
            return sorted(os.listdir("/")), os.getcwd(), error.strerror

    assert inside(image, use) == (["app", "data", "work"], "/", "Read-only file system")


def test_a_shared_root_keeps_what_we_mount_and_unmount_from_the_host(image):
    """The host is another child here, whose mounts are all shared."""

    def container():
        namespaces.unshare(["mount"])
        set_propagation(syscalls.MS_SHARED)
        tmp = MountVolume(Mount("/tmp", "tmpfs", "tmpfs"))
        shared = SetRootPropagation(syscalls.MS_SHARED, recursive=True)
        take(Root(str(image)), AssembleRoot((), shared=True), tmp, ChangeRoot(), shared)

    def host():
        namespaces.unshare(["mount"])
        set_propagation(syscalls.MS_SHARED)
        with open("/proc/self/mountinfo") as before, open("/proc/self/mountinfo") as after:
            return before.read(), in_child(container), after.read()

    before, _, after = in_child(host)
    assert before == after


@pytest.mark.parametrize(("name", "error"), [("none", NotFound), ("app", InvalidArgument)])
def test_a_root_that_is_no_directory_is_refused(image, name, error):
    with pytest.raises(error, match=name):
        inside(image / name, lambda root: None)
