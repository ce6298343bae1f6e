"""Which directories a guest is given."""

import os

import pytest

from pelagos_core.bundle import Bundle
from pelagos_core.container_init import preopens
from pelagos_core.entrypoint import Preopen
from pelagos_core.linux.rootfs import Root
from pelagos_core.policy import EVERYTHING, Directory, Policy
from pelagos_core.spec import Mount, Process, Spec
from pelagos_core.spec import Root as SpecRoot


@pytest.fixture
def root(tmp_path):
    for path in ("data/out", "work", "var", "run/secrets"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "out").symlink_to("/")
    root = Root(str(tmp_path))
    root.fd = os.open(tmp_path, os.O_PATH)
    yield root
    os.close(root.fd)


def given(root, *mounts, cwd="/", readonly=False, policy=EVERYTHING):
    spec = Spec(Process(args=("/x",), cwd=cwd), root=SpecRoot(readonly=readonly), mounts=mounts)
    return preopens.of(Bundle("c1", "ns", "/b", spec, (), policy), root)


def bind(path, *options):
    return Mount(path, "bind", "/somewhere", options)


def test_the_root_and_before_it_the_working_directory(root):
    assert given(root) == (Preopen("/", "/"),)
    assert given(root, cwd="/work/") == (Preopen("/work", "/work"), Preopen("/", "/"))


def test_a_read_only_mount_is_a_read_only_directory_of_its_own(root):
    mounts = (bind("/data", "rbind", "ro"), bind("/work", "rbind", "rw"), bind("/file", "ro"))
    assert given(root, *mounts) == (Preopen("/", "/"), Preopen("/data", "/data", True))


def test_a_mount_in_a_read_only_root_or_mount_may_be_written_to(root):
    assert given(root, bind("/work"), readonly=True) == (Preopen("/", "/", True), Preopen("/work", "/work"))
    assert given(root, bind("/data", "ro"), bind("/data/out")) == (
        Preopen("/", "/"),
        Preopen("/data", "/data", True),
        Preopen("/data/out", "/data/out"),
    )


def test_the_working_directory_is_as_read_only_as_what_it_is_in(root):
    assert given(root, bind("/data", "ro"), cwd="/data/out")[0] == Preopen("/data/out", "/data/out", True)
    assert given(root, bind("/data", "ro"), cwd="/data") == (Preopen("/data", "/data", True), Preopen("/", "/"))


def test_the_last_mount_on_a_place_and_the_last_of_its_words_count(root):
    assert given(root, bind("/data", "ro"), bind("/data", "ro", "rw")) == (Preopen("/", "/"),)


def test_a_symlink_of_the_image_is_resolved_inside_before_an_engine_sees_it(root):
    found = given(root, bind("/var/run/secrets", "ro"), cwd="/out")
    assert found == (Preopen("/out", "/"), Preopen("/", "/"), Preopen("/var/run/secrets", "/run/secrets", True))


def test_a_policy_leaves_only_its_last_list(root):
    lists = ((Directory("/data"), Directory("/work")), (Directory("/data/out", True),))
    assert given(root, policy=Policy(directories=lists)) == (Preopen("/data/out", "/data/out", True),)
    assert given(root, cwd="/work", policy=Policy(directories=((),))) == ()
    one = Policy(directories=((Directory("/data"),),))
    assert given(root, cwd="/data/out", policy=one) == (Preopen("/data/out", "/data/out"), Preopen("/data", "/data"))
    assert given(root, cwd="/work", policy=one) == (Preopen("/data", "/data"),)


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_views_of_the_kernel_are_none_of_a_guests_directories(root, kind):
    assert given(root, Mount("/work", kind, kind, ("ro",))) == (Preopen("/", "/"),)
