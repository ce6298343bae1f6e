"""Where a path leads inside a root, link by link."""

import os

import pytest

from pelagos_core.rootfs.path_walk import Link, walk


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "run/x").mkdir(parents=True)
    return tmp_path


def walked(root, path):
    fd = os.open(root, os.O_PATH)
    try:
        return walk(fd, path)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/", "/"),
        ("//etc/./", "/etc"),
        ("etc/../../../run", "/run"),
        ("/none/deep/../x", "/none/x"),
        ("/none/../etc", "/etc"),
    ],
)
def test_a_path_without_links_leads_where_it_says_also_to_nothing(root, path, leads_to):
    found = walked(root, path)
    assert (found.path, found.links) == (leads_to, ())


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/run/x/f", "/run/x/f"),
        ("../run/x/f", "/run/x/f"),
        ("../../../../run/y/z", "/run/y/z"),
        ("/none/../run/f", "/run/f"),
        ("/", "/"),
    ],
)
def test_a_link_is_followed_inside_the_root_also_where_it_dangles(root, target, leads_to):
    (root / "etc/f").symlink_to(target)
    found = walked(root, "/etc/f")
    assert (found.path, found.links) == (leads_to, (Link("/etc/f", target),))


def test_links_in_parents_and_links_to_links_are_all_told_by_where_they_are(root):
    (root / "var").symlink_to("/mnt/var")
    (root / "mnt").symlink_to("run")
    (root / "run/var").symlink_to("x")
    found = walked(root, "/var/log/new")
    assert found.path == "/run/x/log/new"
    assert found.links == (Link("/var", "/mnt/var"), Link("/mnt", "run"), Link("/run/var", "x"))


def test_the_parent_of_a_links_target_is_not_that_of_the_link(root):
    (root / "run/x/deep").mkdir()
    (root / "etc/d").symlink_to("/run/x/deep")
    assert walked(root, "/etc/d/../f").path == "/run/x/f"


def test_links_without_end_are_an_error(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to("c/c")
    for path in ("/a", "/c/x", "/./" * 5000):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            walked(root, path)


def test_links_with_many_names_come_to_an_end(root):
    for number in range(40):
        (root / f"l{number}").symlink_to(f"{'n/' * 790}{'../' * 790}l{number + 1}")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        walked(root, "/l0")


def test_what_is_below_a_file_is_an_error(root):
    (root / "etc/file").write_text("")
    with pytest.raises(NotADirectoryError):
        walked(root, "/etc/file/x")
