"""A root with nothing left but some of its directories."""

import os

import pytest

from pelagos_core.config.policy import Directory
from pelagos_core.errors import NotFound
from pelagos_core.isolation.filesystem import NarrowRoot
from pelagos_core.rootfs.narrowing import directory_path
from tests.support.child import in_child
from tests.support.roots import assembled, enter, take

pytestmark = [pytest.mark.root]


@pytest.fixture
def image(tmp_path):
    (tmp_path / "root/data").mkdir(parents=True)
    (tmp_path / "root/app").write_text("inside")
    return tmp_path / "root"


def inside(image, use):
    """Use the root in a child that has its own mounts."""

    def run():
        root = assembled(image)
        return use(root)

    return in_child(run)


def test_a_narrowed_root_has_nothing_else(image):
    for path in ("data/in", "data/out", "more"):
        (image / path).mkdir(exist_ok=True)
    (image / "data/out/file").write_text("here")

    def use(root):
        take(root, NarrowRoot((Directory("/data/in"), Directory("/data/out", readonly=True))))
        enter(root)
        found = [sorted(os.listdir(path)) for path in ("/", "/data", "/data/out")]
        os.mkdir("/data/in/new")
        refused = []
        for path in ("/new", "/data/new", "/data/out/new"):
            try:
                os.mkdir(path)
            except OSError as error:
                refused.append(error.strerror)
        return found, refused

    assert inside(image, use) == ([["data"], ["in", "out"], ["file"]], ["Read-only file system"] * 3)
    assert (image / "data/in/new").is_dir()


def test_a_narrowed_root_may_be_narrowed_again_and_never_widened(image):
    (image / "data/in").mkdir()

    def use(root):
        take(root, NarrowRoot((Directory("/data", readonly=True),)))
        take(root, NarrowRoot((Directory("/", readonly=False),)))
        take(root, NarrowRoot((Directory("/data/in"),)))
        try:
            os.mkdir("new", dir_fd=root.open("/data/in", os.O_RDONLY))
        except OSError as error:
            return error.strerror, directory_path(root, "/data/../data/in"), directory_path(root, "/app")

    assert inside(image, use) == ("Read-only file system", "/data/in", "")
    with pytest.raises(NotFound, match="directory '/app' in the container"):
        inside(image, lambda root: take(root, NarrowRoot((Directory("/app"),))))


def test_a_root_of_nothing_is_empty(image):
    assert inside(image, lambda root: (take(root, NarrowRoot(())), enter(root), os.listdir("/"))) == (None, None, [])
