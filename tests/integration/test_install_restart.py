"""`pelagos install --restart` with a real systemd, which is the first process of a kernel of its own."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import provision, uml

pytestmark = [pytest.mark.systemd, pytest.mark.uml, pytest.mark.containerd, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent


def test_containerd_is_restarted_by_its_service(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "PELAGOS_CACHE": str(provision.CACHE),
        "PYTHONDONTWRITEBYTECODE": "1",  # the files are this machine's, and read-only there
        "CI": "true",  # nothing is left out
        "SYSTEMD_IGNORE_CHROOT": "1",  # systemctl(1) does nothing in one: this machine's files are not the root there
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--color=no",
        "-p",
        "no:cacheprovider",
        "tests/support/restart_session.py",
    ]
    code, output = uml.run(command, ROOT, tmp_path, environment, systemd=True)
    assert code == 0, output
    assert re.findall(r"(\d+) passed", output)[-1] == "1"
