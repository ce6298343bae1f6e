"""The scenario of a service under load, of the smallest size."""

import shutil

import pytest

from benchmarks import programs
from tests.benchmarks.test_run import measured

__all__ = ["measured"]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.containerd, pytest.mark.engines, pytest.mark.services]


@pytest.mark.skipif(not shutil.which("wrk"), reason="needs wrk: on Debian, apt-get install wrk")
def test_a_service_is_measured_in_a_container_and_alone(measured):
    programs.provide(["service"])
    report, failures = measured("serving")
    assert failures == []
    for case in ("in a container", "engine's program alone"):
        for metric in ("rate", "request p50", "request p99"):
            assert report.value("serving", case, "pelagos", metric) > 0
    assert report.value("serving", "in a container", "pelagos", "cold answer") > 0
