"""`pelagos stats`."""

import json

import pytest

from pelagos_core.cli import asking, stats
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import Internal, NotFound, Unavailable
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


def test_one_that_has_ended_is_left_out_and_any_other_error_is_reported(monkeypatch):
    run = Run("run-1", 1, ("app.wasm",), 0.0, "/run/absent")
    for gone in (NotFound("no such container"), Unavailable("its shim has ended"), None):
        monkeypatch.setattr(asking, "ask", lambda *_, answer=gone: [answer])
        assert stats._measured([run]) == {}
    monkeypatch.setattr(asking, "ask", lambda *_: [Internal("the control group cannot be read")])
    with pytest.raises(Internal):
        stats._measured([run])


def test_one_that_is_not_there_is_an_error():
    done = pelagos("stats", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "container 'none'" in done.stderr
