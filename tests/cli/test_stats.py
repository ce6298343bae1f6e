"""`pelagos stats`."""

import json

import pytest

from tests.support.runs import detached, pelagos

pytestmark = [pytest.mark.root, pytest.mark.container, pytest.mark.guests]


def test_it_shows_what_a_container_uses(guests):
    with detached("--name", "busy", "-m", "64m", guests / "spin.wasm") as name:
        (row,) = json.loads(pelagos("stats", "--json", "busy").stdout)
        assert (row["id"], row["name"], row["memory_limit"], row["processes"]) == (name, "busy", 64 << 20, 1)
        assert row["cpu_percent"] > 10
        assert 0 < row["memory"] < 64 << 20
        header, line = pelagos("stats", "busy").stdout.splitlines()  # in a pipe: one table
        assert header.split() == ["ID", "NAME", "CPU", "MEMORY", "LIMIT", "PROCESSES"]
        assert line.split()[:2] == [name, "busy"]
        assert "64.0 MiB" in line


def test_one_that_is_not_there_is_an_error():
    done = pelagos("stats", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "container 'none'" in done.stderr
