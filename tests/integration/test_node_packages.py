"""What nodes without pip are given works on nodes that have nothing else, and leaves nothing behind."""

import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from scripts import release_number
from tests.support import node_root, pages, provision

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.containerd, pytest.mark.timeout(900)]

ROOT = Path(__file__).parent.parent.parent
OLD = "io.containerd.grpc.v1.cri"
# As on a node of a cluster, and what a container in a container needs.
CONFIG = f"""\
version = 2
[plugins."{OLD}"]
  restrict_oom_score_adj = true
  sandbox_image = "registry.example/pause:1"
[plugins."{OLD}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/opt"
"""
# The words are for busybox and for coreutils.
NODE = """\
set -e
say() { echo "== $1"; }
mkdir -p /etc/containerd /usr/local/bin /var/lib
cp /host/config.toml /etc/containerd/config.toml
PATH=/usr/local/sbin:/usr/local/bin:/containerd/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
containerd >/tmp/containerd.log 2>&1 &
restart() {
    kill $!; wait $! || true
    containerd >>/tmp/containerd.log 2>&1 &
}
waited() { tries=$((tries + 1)); sleep 0.2; [ $tries -lt 300 ]; }
answers() { tries=0; until ctr version >/dev/null 2>&1; do waited || { cat /tmp/containerd.log; exit 1; }; done; }
answers
"""
TRY = """\
say doctor
pelagos doctor --json
say run
pelagos run /host/hello.wat
cp -r /host/rootfs /tmp/rootfs
ctr run --rm --runtime io.containerd.pelagos.wasm.v1 --rootfs /tmp/rootfs hello /hello.wasm
"""


def of_the_page(word):
    """The commands of docs/nodes.md with this word in the first, for the packages of this machine; the last is doctor.

    `--restart` needs systemd, so the node restarts containerd itself.
    """
    (block,) = [each for each in pages.given_to(__file__) if word in each.text]
    commands = "\n".join(command.text for command in block.commands())
    number = release_number.version()
    for shown, here in {
        f"pelagos_{release_number.debian(number)}_amd64.deb": "/packages/pelagos_*.deb",
        f"pelagos-{number}-linux-x86_64": f"/packages/pelagos-*-linux-{os.uname().machine}",
        "install --restart": "install; restart; answers; pelagos install",
    }.items():
        commands = commands.replace(shown, here)
    unpacked, installed, doctor = commands.splitlines()
    return f"{unpacked}\nsay installed\n{installed}\nsay plain doctor\n{doctor}\n{TRY}"


OF_DEBIAN = {provision.containerd_directory("trixie"): "/containerd"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return node_root.packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def given(built, guests, tmp_path_factory):
    """What a node has at /host, and where its containerd is."""
    host = tmp_path_factory.mktemp("host")
    (host / "config.toml").write_text(CONFIG)
    shutil.copy(ROOT / "examples/hello.wat", host)
    shutil.copytree(guests, host / "rootfs")
    return {host: "/host", built: "/packages"}


def parts(output):
    """What was printed after each mark."""
    found = re.split(r"^== (.+)\n", output, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def checked(said):
    assert "has the runtime as handler 'pelagos'" in said["installed"]
    assert '"check": "a container", "state": "ok"' in said["doctor"]
    assert '"check": "containerd", "state": "ok"' in said["doctor"]
    assert '"check": "launchers", "state": "ok"' in said["doctor"]
    assert said["run"].count("hello") == 2


def test_the_archive_works_where_there_is_no_python_and_no_library_and_is_taken_away(given):
    script = f"""{NODE}
tar() {{ busybox tar "$@"; }}; cp() {{ busybox cp "$@"; }}; mkdir() {{ busybox mkdir "$@"; }}
pelagos() {{ /opt/pelagos/bin/pelagos "$@"; }}
{of_the_page("tar -xzf")}
say upgraded
pelagos install
say removed
pelagos uninstall
busybox cmp /host/config.toml /etc/containerd/config.toml && echo as before
busybox ls /usr/local/bin /etc/containerd
""".replace("cp /host/config.toml", "busybox cp /host/config.toml").replace("mkdir -p", "busybox mkdir -p")
    script = script.replace("sleep 0.2", "busybox sleep 0.2").replace("cat /tmp", "busybox cat /tmp")
    # The one that is linked with nothing. It imports a directory by default.
    containerd = {provision.containerd_directory(provision.BUILT): "/containerd"}
    said = parts(node_root.run(node_root.without_python(), script, {**given, **containerd}))
    checked(said)
    assert "changed /etc/containerd/config.toml\n" in said["installed"]
    assert said["upgraded"].startswith("nothing to be installed\n")
    assert said["removed"].endswith("as before\n/etc/containerd:\nconfig.toml\n\n/usr/local/bin:\n")


def test_the_debian_package_works_and_leaves_nothing(given):
    script = f"""{NODE}
find / -xdev -not -path '/var/lib/dpkg/*' -not -path '/var/log/*' -not -path '/var/lib/containerd/*' | sort >/tmp/before
say package
{of_the_page("dpkg -i")}
say verified
dpkg --verify pelagos
say again
dpkg -i /packages/pelagos_*.deb
say removed
dpkg -r pelagos
cmp /host/config.toml /etc/containerd/config.toml && echo as before
rm -r /var/cache/pelagos
find / -xdev -not -path '/var/lib/dpkg/*' -not -path '/var/log/*' -not -path '/var/lib/containerd/*' | sort >/tmp/after
diff /tmp/before /tmp/after && echo nothing is left
"""
    said = parts(node_root.run(node_root.debian(), script, {**given, **OF_DEBIAN}))
    checked(said)
    assert "Setting up pelagos" in said["package"]
    assert said["verified"] == ""
    assert "nothing to be installed" in said["again"]
    assert said["removed"].endswith("as before\nnothing is left\n"), said["removed"]


def test_the_installers_image_makes_the_node_ready_and_takes_it_back_at_its_end(given, built, tmp_path):
    image = tmp_path / "image"
    with tarfile.open(next(built.glob("pelagos-installer-*.tar"))) as tar:
        layer = max(tar.getmembers(), key=lambda member: member.size)
        with tarfile.open(fileobj=tar.extractfile(layer)) as files:
            files.extractall(image, filter="tar")
    for name in ("proc", "host", "mnt", "tmp"):
        (image / name).mkdir()
    # As the DaemonSet's pod has it: the node's pids, its root at /host, mounts of its own.
    script = f"""{NODE}
start() {{
    rm -f /tmp/installer.log
    unshare -m sh -c 'mount --make-rprivate /; mount --bind /image /image; mount -t proc none /image/proc
        mount --rbind / /image/host; cd /image; exec chroot . /opt/pelagos/bin/python3 -I /install_node.py' \\
        >/tmp/installer.log 2>&1 &
    installer=$!
    tries=0
    until grep -q ready /tmp/installer.log 2>/dev/null; do
        waited || exit 1
        kill -0 $installer 2>/dev/null || {{ cat /tmp/installer.log; exit 1; }}
    done
}}
export PELAGOS_RESTART=false
containerd=$!
pelagos() {{ /opt/pelagos/bin/pelagos "$@"; }}
start
say first
ls -A /opt /usr/local/bin
say installed
kill $containerd; wait $containerd || true
containerd >>/tmp/containerd.log 2>&1 &
answers; pelagos install
{TRY}say killed
kill -KILL $installer; wait $installer || true
start
ls -A /opt
say removed
kill -TERM $installer; wait $installer
cat /tmp/installer.log
ls -A /opt /usr/local/bin
cmp /host/config.toml /etc/containerd/config.toml && echo as before
say another
mkdir /opt/pelagos
(start) || echo refused
"""
    said = parts(node_root.run(node_root.debian(), script, {**given, **OF_DEBIAN, image: "/image"}))
    checked(said)
    assert re.fullmatch(r"/opt:\n\.pelagos-\w{8}\npelagos\n\n/usr/local/bin:\n.*-v1\n.*-v1\n", said["first"])
    assert re.fullmatch(r"\.pelagos-\w{8}\npelagos\n", said["killed"].partition("Killed\n")[2] or said["killed"])
    assert said["removed"].endswith("/opt:\n\n/usr/local/bin:\nas before\n"), said["removed"]
    assert "the node's /opt/pelagos is another installation's" in said["another"]
    assert said["another"].endswith("refused\n")
