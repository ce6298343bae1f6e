"""The node's figures as text, read by Prometheus' own parser."""

import os
import signal
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from pelagos_core import __version__, reasons
from pelagos_core.linux import child
from pelagos_core.metrics import families, slots
from pelagos_core.metrics.exposition import Node
from pelagos_core.metrics.recorder import Recorder, now


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.VARIABLE, str(tmp_path / "metrics"))
    return str(tmp_path / "metrics")


def registry(place):
    made = CollectorRegistry()
    made.register(Node(place))
    return made


def samples(place):
    """Each sample's value, by its name and labels."""
    found = parse(generate_latest(registry(place)).decode())
    return {(each.name, *sorted(each.labels.items())): each.value for family in found for each in family.samples}


def of(name, **labels):
    return (name, *sorted(labels.items()))


def test_before_a_daemon_has_counted_all_is_zero(place):
    found = samples(place)
    assert found[of("pelagos_info", version=__version__)] == 1
    assert found[of("pelagos_containers", engine="native", state="running")] == 0
    assert {value for key, value in found.items() if key[0] != "pelagos_info"} == {0}


def test_every_family_is_there_with_its_kind_and_help(place):
    found = {each.name: each for each in parse(generate_latest(registry(place)).decode())}
    for family in (*families.COUNTED, families.DAEMONS):
        assert (found[family.name].type, found[family.name].documentation) == (family.kind, family.help)


def test_what_was_counted_is_what_is_read(place):
    def count(report):
        daemon = Recorder.of_node()
        daemon.count(families.CONTAINERS, "", "creating")
        daemon.count(families.CONTAINERS, "e", "running")
        daemon.count(families.CREATE_FAILURES, "", reasons.MODULE)
        daemon.count(families.EXITS, "e", "exec", "trap", by=3)
        for milliseconds in (2, 30, 30, 99_000):
            daemon.observe(families.CREATE_SECONDS, "e", now() - milliseconds * 1_000_000)
        os.write(report, b"k")
        signal.pause()

    with child.fork_reporting(count) as daemon:
        assert daemon.read(20) == b"k"
        found = samples(place)
    assert found[of("pelagos_containers", engine="none", state="creating")] == 1
    assert found[of("pelagos_containers", engine="e", state="running")] == 1
    assert found[of("pelagos_create_failures_total", reason="PLG-MODULE")] == 1
    assert found[of("pelagos_exits_total", engine="e", kind="exec", cause="trap")] == 3
    assert (found[of("pelagos_daemons")], found[of("pelagos_daemons_started_total")]) == (1, 1)
    name = "pelagos_create_duration_seconds"
    buckets = {
        bound: found[of(f"{name}_bucket", engine="e", le=bound)] for bound in ("0.001", "0.0025", "0.05", "+Inf")
    }
    assert buckets == {"0.001": 0, "0.0025": 1, "0.05": 3, "+Inf": 4}
    assert found[of(f"{name}_count", engine="e")] == 4
    assert 99.0 < found[of(f"{name}_sum", engine="e")] < 99.5
    after = samples(place)
    gauges = {"pelagos_containers", "pelagos_daemons"}
    assert {key: value for key, value in after.items() if key[0] not in gauges} == {
        key: value for key, value in found.items() if key[0] not in gauges
    }
    assert {value for key, value in after.items() if key[0] in gauges} == {0}


def test_the_text_is_openmetrics_too(place):
    text = openmetrics.generate_latest(registry(place)).decode()
    assert {each.name for each in parse_openmetrics(text)} >= {family.name for family in families.COUNTED}


def test_neither_a_daemon_nor_a_launcher_loads_it():
    code = "import sys, pelagos_core.daemon.program; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pelagos_core.metrics.recorder" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"prometheus_client", "wsgiref", "http"}
