"""Tests with a containerd that is a service of systemd; `tests/integration/test_install_restart.py` runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import provision
from tests.support.containerd import CONFIG, until

RELEASE = "trixie"
OLD = "io.containerd.grpc.v1.cri"
UNIT = """\
[Unit]
DefaultDependencies=no

[Service]
Environment=PATH={path}
ExecStart={chroot} {root} {bin}/containerd --config {config}
StandardOutput=file:{root}{config}.log
StandardError=inherit
KillMode=process
Delegate=yes
"""


def systemctl(*words):
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_restarted_asked_and_restarted_again(tmp_path, request):
    place = tmp_path / "bin"
    place.mkdir()
    config = tmp_path / "config.toml"
    before = CONFIG.replace(f'"{OLD}", ', "").format(tmp_path) + f'[plugins."{OLD}".registry]\n  config_path = "/x"\n'
    config.write_text(before)
    directory = provision.containerd_directory(RELEASE) / "usr/bin"
    text = UNIT.format(
        path=f"{place}:{os.environ['PATH']}", chroot="/usr/sbin/chroot", root="/host", bin=directory, config=config
    )
    unit = Path("/run/systemd/system/containerd.service")
    unit.parent.mkdir(exist_ok=True)
    unit.write_text(text)
    systemctl("daemon-reload")
    systemctl("start", "containerd.service")
    request.addfinalizer(lambda: systemctl("stop", "containerd.service"))
    ctr = [directory / "ctr", "--address", tmp_path / "containerd.sock", "version"]

    def why():
        words = ["systemctl", "status", "--no-pager", "containerd.service"]
        log = tmp_path / "config.toml.log"
        return subprocess.run(words, capture_output=True, text=True).stdout + (log.read_text() if log.exists() else "")

    until(lambda: subprocess.run(ctr, capture_output=True).returncode == 0, 40, why)

    def pelagos(command):
        words = ["--bin-dir", place, "--containerd-config", config, "--restart", "--json"]
        done = subprocess.run([sys.executable, "-m", "pelagos_core", command, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), systemctl("show", "-P", "MainPID", "containerd.service")

    first = systemctl("show", "-P", "MainPID", "containerd.service")
    said, second = pelagos("install")
    assert (said["handlers"], said["restart_needed"], second != first) == (["pelagos"], False, True)
    said, third = pelagos("install")
    assert (said["installed"], third) == ([], second)  # nothing has changed: no restart
    said, fourth = pelagos("uninstall")
    assert (said["handlers"], fourth != third, config.read_text()) == ([], True, before)
