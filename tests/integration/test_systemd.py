"""Scopes of a real systemd: it is the first process of a kernel of its own, and the tests are a service of it."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import provision, uml

pytestmark = [pytest.mark.systemd, pytest.mark.uml, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent


def test_containers_in_scopes_of_systemd(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "PELAGOS_CACHE": str(provision.CACHE),
        "PYTHONDONTWRITEBYTECODE": "1",  # the files are this machine's, and read-only there
        "CI": "true",  # nothing is left out
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/support/scope_session.py"]
    code, output = uml.run(command, ROOT, tmp_path, environment, systemd=True)
    assert code == 0, output
    assert int(re.findall(r"(\d+) passed", output)[-1]) == 5
