"""Where a path leads inside a root, link by link: what is made shows it."""

import os
from pathlib import Path

import pytest

from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.isolation.filesystem import MakeWorkingDirectory
from pelagos_core.rootfs.root import Root
from tests.support.roots import take


@pytest.fixture
def image(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "run/x").mkdir(parents=True)
    yield root
    assert os.listdir(tmp_path) == ["root"]


def made(image, path):
    """The directories that are new once one was made at a path, from the outside in."""

    def all_of_it():
        # By descriptors: a path may be too long.
        return {os.path.relpath(each, image) for each, *_ in os.fwalk(image)}

    before = all_of_it()
    root = Root(str(image))
    root.process["root"] = os.open(image, os.O_PATH)
    try:
        take(root, MakeWorkingDirectory(path))
    finally:
        os.close(root.fd)
    return sorted(all_of_it() - before)


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("/", []),
        ("//etc/./", []),
        ("etc/../../../new", ["new"]),
        ("/none/deep/../x", ["none", "none/x"]),
        ("/none/../etc", []),
        ("/none/../../x", ["x"]),
        ("/...", ["..."]),
        ("/etc/..new", ["etc/..new"]),
    ],
)
def test_a_path_without_links_leads_where_it_says(image, path, new):
    assert made(image, path) == new


@pytest.mark.parametrize(
    ("target", "new"),
    [
        ("/run/x/f", ["run/x/f"]),
        ("../run/x/f", ["run/x/f"]),
        ("../../../../run/y/z", ["run/y", "run/y/z"]),
        ("/none/../run/f", ["run/f"]),
        ("f/./g/", ["etc/f", "etc/f/g"]),
        ("/", []),
        ("/proc/self/root/tmp", ["proc", "proc/self", "proc/self/root", "proc/self/root/tmp"]),
    ],
)
def test_a_link_is_followed_inside_the_root_where_it_dangles(image, target, new):
    (image / "etc/link").symlink_to(target)
    assert made(image, "/etc/link") == new


def test_links_in_parents_and_links_to_links_are_followed(image):
    (image / "var").symlink_to("/mnt/var")
    (image / "mnt").symlink_to("run")
    (image / "run/var").symlink_to("x")
    assert made(image, "/var/log/new") == ["run/x/log", "run/x/log/new"]


def test_the_parent_of_a_links_target_is_not_that_of_the_link(image):
    (image / "run/x/deep").mkdir()
    (image / "etc/d").symlink_to("/run/x/deep")
    assert made(image, "/etc/d/../f") == ["run/x/f"]


def chain(image, links):
    """Links to one another, the last of which leads to what is not there; the first one's path."""
    for number in range(links):
        (image / f"l{number}").symlink_to(f"l{number + 1}")
    return "/l0"


def test_as_many_links_are_followed_as_the_kernel_follows(image):
    assert made(image, chain(image, 40)) == ["l40"]


@pytest.mark.parametrize("path", ["/a", "/c/x", "/d/new", "/none/" + "./" * 5000])
def test_links_without_end_are_an_error(image, path):
    (image / "a").symlink_to("b")
    (image / "b").symlink_to("a")
    (image / "c").symlink_to("c/c")
    (image / "d").symlink_to("none/../d")
    with pytest.raises(InvalidArgument, match=r"container: (Too many levels of|File name too long)"):
        made(image, path)


def test_links_with_many_names_come_to_an_end(image):
    for number in range(40):
        (image / f"l{number}").symlink_to(f"{'n/' * 790}{'../' * 790}l{number + 1}")
    with pytest.raises(InvalidArgument, match="'/l0' in the container: Too many levels of symbolic links"):
        made(image, "/l0")


def test_links_of_the_greatest_length_are_followed_and_lead_no_deeper_than_a_path_may(image):
    long = "/".join(["n" * 255] * 15 + ["x" * 200])
    (image / "a").symlink_to(f"/b/../{long}")
    (image / "b").symlink_to("/nowhere")
    assert len(made(image, "/a")) == 16
    (image / "c").symlink_to(f"/none/{long}")
    with pytest.raises(InvalidArgument, match=r"'/c/.* in the container: File name too long"):
        made(image, f"/c/{long[:200]}")


def test_what_is_below_a_file_is_an_error(image):
    (image / "etc/file").write_text("")
    (image / "etc/below").symlink_to("/none/../etc/file/x")
    for path, what in (("/etc/file", "directory "), ("/etc/file/x", "directory "), ("/etc/below", "")):
        with pytest.raises(InvalidArgument, match=f"^{what}'{path}' in the container: Not a directory"):
            made(image, path)


def test_what_cannot_be_made_is_named():
    root = Root("/proc")
    root.process["root"] = os.open("/proc/self", os.O_PATH)
    with pytest.raises(PermissionDenied, match="directory '/new' in the container"):
        take(root, MakeWorkingDirectory("/new"))
    assert not Path("/proc/self/new").exists()
