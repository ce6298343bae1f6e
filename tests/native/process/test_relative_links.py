"""Absolute links of an image, shown as relative ones."""

import os

import pytest

from pelagos_core.isolation.engine_root import EncloseRoot
from pelagos_core.isolation.filesystem import ChangeRoot, ShowRelativeLinks
from pelagos_core.linux import syscalls
from pelagos_core.oci import Mount
from tests.support.child import in_child
from tests.support.roots import assembled, mount, take

RESOLVE_BENEATH = 0x08  # as engines do

pytestmark = [pytest.mark.root]


@pytest.fixture
def image(tmp_path):
    root = tmp_path / "root"
    for path in ("var", "run/s", "etc", "opt/deep"):
        (root / path).mkdir(parents=True)
    (root / "run/s/f").write_text("found")
    return root


def shown(image, paths, use=lambda root: None):
    """Show the links to some paths in a child that has its own mounts, and use the root."""

    def run():
        root = assembled(image)
        take(root, ShowRelativeLinks(tuple(paths)))
        return use(root)

    return in_child(run)


def read(root, path):
    """A file's text, or what opening it comes to, for an engine."""
    try:
        with open(syscalls.openat2(root.fd, path, os.O_RDONLY, RESOLVE_BENEATH)) as file:
            return file.read()
    except OSError as error:
        return error.strerror


def test_what_is_behind_an_absolute_link_is_found_and_the_image_stays_as_it_is(image):
    (image / "var/run").symlink_to("/run")
    (image / "etc/f").symlink_to("/var/run/s/f")

    def use(root):
        return read(root, "var/run/s/f"), read(root, "etc/f"), os.listdir(root.open("/", os.O_RDONLY))

    found, link, names = shown(image, ["/var/run/s", "/etc/f"], use)
    assert (found, link) == ("found", "found")
    assert sorted(names) == ["etc", "opt", "run", "var"]
    assert os.readlink(image / "var/run") == "/run"
    # So it is for an engine without that:
    assert shown(image, [], lambda root: read(root, "var/run/s/f")) == "Invalid cross-device link"


@pytest.mark.parametrize(
    "links",
    [
        {"a": "/b", "b": "/c", "c": "/run"},
        {"a": "opt/deep/../link", "opt/link": "/run"},
        {"a": "/x/../run", "x": "/opt/deep", "opt/run": "/run"},
        {"a": "/../run/"},
        {"a": "opt/../../../run"},
        {"a": "/run/self", "run/self": "."},
    ],
)
def test_chains_and_links_that_clamp_at_the_root_lead_where_they_did(image, links):
    for path, target in links.items():
        (image / path).symlink_to(target)
    assert shown(image, ["/a/s"], lambda root: read(root, "a/s/f")) == "found"


def test_relative_links_and_what_is_nowhere_are_left_alone(image):
    (image / "var/run").symlink_to("../run")
    (image / "loop").symlink_to("/loop")
    (image / "opt/none").symlink_to("/none/x")

    def use(root):
        with open("/proc/self/mountinfo") as mounts:
            return [line.split()[4] for line in mounts if str(image) in line]

    paths = ["/var/run/s/f", "/", "none/x", "/etc/f/g", "/loop/x"]
    assert shown(image, paths, use) == [str(image)]
    assert shown(image, ["/opt/none"], lambda root: os.readlink("opt/none", dir_fd=root.fd)) == "../none/x"


def test_they_stay_where_the_root_is_copied_or_changed(image):
    (image / "var/run").symlink_to("/run")

    def use(root):
        take(root, EncloseRoot(), ChangeRoot())
        return os.readlink("/guest/var/run")

    assert shown(image, ["/var/run/s"], use) == "../run"


def test_a_mount_is_found_by_both_names(image, tmp_path):
    (image / "var/run").symlink_to("/run")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/new").write_text("of the volume")

    def run():
        root = assembled(image)
        mount(root, Mount("/var/run/v", "bind", str(tmp_path / "volume")))
        take(root, ShowRelativeLinks(("/var/run/v",)))
        return read(root, "run/v/new"), read(root, "var/run/v/new")

    assert in_child(run) == ("of the volume", "of the volume")
