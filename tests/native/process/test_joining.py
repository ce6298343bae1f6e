"""The root of a running container, as one more process of it enters: as it is, or in a copy."""

import os
import signal
import subprocess

import pytest

from pelagos_core.errors import NotFound
from pelagos_core.isolation.engine_root import EncloseRoot
from pelagos_core.isolation.entering import CheckWorkingDirectory, CopyContainer, EnterContainerRoot, FindContainerRoot
from pelagos_core.isolation.filesystem import ChangeRoot
from pelagos_core.isolation.state import CONTAINER
from pelagos_core.oci import Mount
from pelagos_core.plugin.program import GUEST_ROOT
from pelagos_core.rootfs.root import Root
from tests.support.child import in_child
from tests.support.roots import assembled, enter, mount, take

pytestmark = [pytest.mark.root]


@pytest.fixture
def image(tmp_path):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "app").write_text("inside")
    (root / "run").write_text("#!/bin/none")
    (root / "run").chmod(0o755)
    return root


@pytest.fixture(params=["/", GUEST_ROOT])
def container(image, request):
    """A process in a root of its own: (its pidfd, where the container's root is in it)."""
    ready, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            root = assembled(image)
            mount(root, Mount("/data", "tmpfs", "x y"))
            os.close(os.open(image / "data/covered", os.O_CREAT))
            if request.param != "/":
                take(root, EncloseRoot())
            enter(root)
            os.write(report, b".")
            signal.pause()
        finally:
            os._exit(0)
    os.close(report)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    pidfd = os.pidfd_open(pid)
    yield pidfd, request.param
    os.close(pidfd)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def joined(image, container, use):
    """Use the container's root in a child, before it enters."""
    pidfd, inside = container

    def run():
        root = Root(str(image))
        root.process[CONTAINER] = pidfd
        take(root, FindContainerRoot() if inside == "/" else CopyContainer(inside))
        return use(root)

    return in_child(run)


def mounts_of(pidfd):
    """The mount namespace of the process behind a pidfd."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
    return os.readlink(f"/proc/{pid}/ns/mnt")


def test_its_files_are_read_with_the_hosts_still_in_reach(image, container):
    def use(root):
        return os.read(root.open_file("/app"), 100), os.path.exists(image), root.open_file("/root")

    assert joined(image, container, use) == (b"inside", True, None)


def test_a_working_directory_must_be_there(image, container):
    joined(image, container, lambda root: take(root, CheckWorkingDirectory("/data")))
    for path in ("/none", "/app"):
        with pytest.raises(NotFound, match=f"working directory '{path}' in the container"):
            joined(image, container, lambda root, path=path: take(root, CheckWorkingDirectory(path)))


def entered(root, container):
    """Enter for good: a container that is its own root as it is, another one in the copy."""
    take(root, EnterContainerRoot() if container[1] == "/" else ChangeRoot())


def test_entered_it_is_the_root_and_the_host_is_gone(image, container):
    def use(root):
        entered(root, container)
        return sorted(os.listdir("/")), os.getcwd(), os.path.exists(image), os.stat("/").st_dev, os.stat("/").st_ino

    files, cwd, host, *identity = joined(image, container, use)
    assert (files, cwd, host) == (["app", "data", "run"], "/", False)
    assert identity == [os.stat(image).st_dev, os.stat(image).st_ino]


def test_a_container_that_is_its_own_root_is_entered_itself(image, container):
    pidfd, inside = container

    def use(root):
        proc = os.open("/proc/self/ns", os.O_PATH)
        entered(root, container)
        return os.readlink("mnt", dir_fd=proc)

    assert (joined(image, container, use) == mounts_of(pidfd)) is (inside == "/")


def copied(root, container):
    """Have a copy, also of a container that is its own root."""
    if container[1] == "/":
        take(root, CopyContainer())


def test_a_copy_shows_what_is_mounted_and_has_mounts_of_its_own(image, container):
    def use(root):
        copied(root, container)
        subprocess.run(["umount", image / "data"], check=True)
        enter(root)
        return os.listdir("/data")

    def look(root):
        entered(root, container)
        return os.listdir("/data")

    assert joined(image, container, look) == ["covered"]
    assert joined(image, container, use) == []
    assert joined(image, container, look) == ["covered"]


def test_an_engines_root_goes_around_a_copy_and_its_guests_files_cannot_be_executed(image, container):
    def use(root):
        copied(root, container)
        take(root, EncloseRoot())
        enter(root)
        return os.listdir("/"), sorted(os.listdir(GUEST_ROOT)), os.access(f"{GUEST_ROOT}/run", os.X_OK)

    def look(root):
        entered(root, container)
        return os.access("/run", os.X_OK)

    assert joined(image, container, use) == (["guest"], ["app", "data", "run"], False)
    # the container itself has kept its root, and its files can be executed by what joins it plainly
    assert joined(image, container, look)
