"""A minute of `make soak`: whatever is killed, nothing is left, nothing is lost, nothing grows."""

import os

import pytest

from tests.support.soak import Soak

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests, pytest.mark.slow, pytest.mark.timeout(0)]


def test_mixed_containers_with_kills_of_everything_leave_and_lose_nothing(tmp_path):
    report = Soak(tmp_path, seed=int(os.environ.get("SOAK_SEED", "1"))).run(float(os.environ.get("SOAK_SECONDS", "60")))
    print(report.table())
    assert report.done["containers"] > 20
    assert not report.violations()
