"""Scopes of a real systemd: it is the first process of a kernel of its own, and the tests are a service of it."""

import re
from pathlib import Path

import pytest

from tests.support import uml

pytestmark = [pytest.mark.systemd, pytest.mark.uml, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent


def test_containers_in_scopes_of_systemd(tmp_path):
    code, output = uml.run_tests(["tests/support/scope_session.py"], ROOT, tmp_path, systemd=True)
    assert code == 0, output
    assert int(re.findall(r"(\d+) passed", output)[-1]) == 5
