"""An engine that has the kernel follow links, and its guest: it comes to the container's files only."""

import os
import shutil

import pytest

from pelagos_core.plugin import program
from tests.support import provision, wazero
from tests.support.bundles import NAMESPACES, Fifos, change_config, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.wazero, pytest.mark.slow]

LINKS = {
    "up": "../..",
    "one": "..",
    "far": "../../../../../../../..",
    "top": "/",
    "chain": "up/../up",
    "engine": "/engine",
    "program": "../../usr/bin",
    "own": "/data/note",
}
# A link that leads nowhere, and the terminal's node.
OF_THE_CONTAINER = {"OPENED readlink dev/fd", "OPENED stat dev/tty"}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/note").write_text("a note\n")
    for name, target in LINKS.items():
        (tmp_path / "data" / name).symlink_to(target)
    return tmp_path


def tool(directory, guests, *words):
    """What the guest's `tool` prints; the links are in a volume on /data."""
    return wazero.form().run(directory, "--volume", f"{directory / 'data'}:/data", str(guests / "tool.wasm"), *words)


def test_links_that_stay_in_the_container_are_followed(directory, guests):
    for path in ("/data/note", "/data/own", "/data/one/data/note", "/data/top/data/note"):
        assert tool(directory, guests, "read", path).stdout == "a note\n", path


def test_no_link_and_no_dots_lead_to_a_file_of_the_engines(directory, guests):
    (directory / "control").write_text("this may be read")
    described = program.find("wazero", {"program": str(provision.wazero())})
    targets = [target.lstrip("/") for target in described.targets]
    names = [*targets, f"engine/{targets[2]}", "usr/bin", "usr", "tmp/x", "gone/files", "root", "proc/self/exe", "etc"]
    ways = [f"data/{way}/{name}" for way in (*LINKS, "..", "../..") for name in names]
    volumes = ("--volume", f"{directory / 'control'}:/control", "--volume", f"{directory / 'data'}:/data")
    done = wazero.form().run(directory, *volumes, str(guests / "attack.wasm"), "/data", "--", *names, *ways)
    *lines, last = done.stdout.splitlines()
    assert int(last.split()[0]) > 2500, (last, done.stderr)
    assert set(lines) <= OF_THE_CONTAINER


def bundle_of(tmp_path, guests, *words, user=0):
    """A container of wazero's, with a link in its image; the shim's environment."""
    bundle = make_bundle(tmp_path / "c1", "/srv/tool.wasm", *words, user={"uid": user, "gid": user})
    rootfs = bundle / "rootfs"
    (rootfs / "srv").mkdir()
    (rootfs / "srv/tool.wasm").write_bytes((guests / "tool.wasm").read_bytes())
    (rootfs / "up").symlink_to("..")
    engine = shutil.copy(provision.wazero(), tmp_path / "wazero")  # where others than root can read it
    (tmp_path / "config.toml").write_text(f'runtime = "wazero"\n[backends.wazero]\nprogram = "{engine}"\n')
    return bundle, {"PELAGOS_CONFIG": str(tmp_path / "config.toml")}


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("mapped", [False, True])
async def test_the_links_of_an_image_lead_no_further_as_any_user(tmp_path, guests, user, mapped):
    bundle, environment = bundle_of(tmp_path, guests, "ls", "/up", user=user)
    if mapped:
        in_user_namespace(bundle)
    async with running_shim(tmp_path, python=wazero.form().python, env=environment) as shim:
        fifos = Fifos(bundle)
        code, (output, errors) = await shim.run("c1", bundle, fifos), fifos.output()
        assert (code, set(output.split()), errors) == (0, {"guest", "srv", "dev", "up"}, "")
        fifos.close()


async def test_the_links_of_an_image_lead_no_further_in_a_further_process(tmp_path, guests):
    bundle, environment = bundle_of(tmp_path, guests, "spin", user=1000)
    async with running_shim(tmp_path, python=wazero.form().python, env=environment) as shim:
        await shim.create("c1", bundle)
        pid = (await shim.state("c1")).pid
        assert os.path.exists(f"/proc/{pid}/root/engine/usr/bin/wazero")
        await shim.start("c1")
        fifos = Fifos(tmp_path)
        await shim.exec("c1", "e1", "/srv/tool.wasm", "ls", "/up", fifos=fifos)
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 0
        assert set(fifos.output()[0].split()) == {"guest", "srv", "dev", "up"}
        assert sorted(os.listdir(f"/proc/{pid}/root")) == ["dev", "guest", "srv", "up"]
        fifos.close()


def in_user_namespace(bundle):
    """Give a container a user namespace, and its root the files."""
    ids = [{"containerID": 0, "hostID": 100000, "size": 1001}]
    kinds = [{"type": kind} for kind in (*NAMESPACES, "cgroup", "user")]
    change_config(bundle, linux={"namespaces": kinds, "uidMappings": ids, "gidMappings": ids})
    for directory, _, files in os.walk(bundle / "rootfs"):
        for name in ("", *files):
            os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
    for parent in (bundle, *bundle.parents):
        if str(parent).startswith("/tmp/") and parent.stat().st_uid == os.geteuid():
            parent.chmod(0o711)
