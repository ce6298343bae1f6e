"""`pelagos install --restart` with a real systemd, which is the first process of a kernel of its own."""

import re
from pathlib import Path

import pytest

from tests.support import uml

pytestmark = [pytest.mark.systemd, pytest.mark.uml, pytest.mark.containerd, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent


def test_containerd_is_restarted_by_its_service(tmp_path):
    # systemctl(1) does nothing in a chroot: this machine's files are not the root there.
    environment = {"SYSTEMD_IGNORE_CHROOT": "1"}
    words = ["--color=no", "tests/support/restart_session.py"]
    code, output = uml.run_tests(words, ROOT, tmp_path, environment, systemd=True)
    assert code == 0, output
    assert re.findall(r"(\d+) passed", output)[-1] == "1"
