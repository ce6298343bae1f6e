"""What is mounted in a container reaches the host, and the reverse, as far as the spec lets it."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.test_user_namespaces import mapped
from tests.support.bundles import Fifos, change_config
from tests.support.native import change_linux, config_of, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root]

ADMIN = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}


@pytest.fixture
def source(tmp_path):
    """A shared mount of the host's, with two directories to mount on."""
    path = tmp_path / "src"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "source", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    for name in ("sub", "host"):
        (path / name).mkdir()
    yield path
    while mounts_below(path):
        subprocess.run(["umount", "-l", mounts_below(path)[-1]], check=True)


def mounts_below(path):
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if f"{line.split()[4]}/".startswith(f"{path}/")]


def mounting(directory, source, propagation, *options):
    """A container that mounts in its volume, and prints what it did and which mounts of the host it sees there."""
    script = """
    mount -t tmpfs inner /mnt/sub && echo mounted
    while ! [ -e /mnt/host/file -o -e /mnt/stop ]; do sleep 0.02; done
    cat /mnt/host/file
    umount /mnt/sub
    """
    bundle = shell(directory, script, capabilities=ADMIN)
    volume = {"destination": "/mnt", "type": "bind", "source": str(source), "options": ["rbind", *options]}
    change_config(bundle, mounts=[*config_of(bundle)["mounts"], volume])
    if propagation:
        change_linux(bundle, rootfsPropagation=propagation)
    return bundle


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize(
    ("propagation", "options", "seen"),
    [
        ("rshared", ["rshared"], "both"),  # a CSI driver's: Bidirectional
        ("shared", ["rshared"], "both"),
        ("rshared", ["rslave"], "inside"),
        ("rslave", ["rslave"], "inside"),  # HostToContainer
        ("rshared", ["rprivate"], "nothing"),
        ("", ["rprivate"], "nothing"),
        ("", [], "inside"),  # runc's default
    ],
)
async def test_mounts_go_both_ways_as_under_runc(tmp_path, source, propagation, options, seen, user):
    bundle = mounting(tmp_path / "c1", source, propagation, *options)
    if user:
        mapped(bundle)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        assert await fifos.some(100) == "mounted\n"
        assert (str(source / "sub") in mounts_below(source)) is (seen == "both")
        subprocess.run(["mount", "-t", "tmpfs", "outer", source / "host"], check=True)
        (source / "host" / "file").write_text("from the host\n")
        if seen == "nothing":
            (source / "stop").touch()
        await shim.wait("c1")
        assert fifos.output()[0] == ("" if seen == "nothing" else "from the host\n")
        subprocess.run(["umount", source / "host"], check=True)
        assert mounts_below(source) == [str(source)]  # the container's own umount has come too
        fifos.close()
        await shim.delete("c1")
        assert mounts_below(tmp_path) == [str(source)]  # nothing else of the container's has come
