"""A container's scope where systemd cannot be asked. The real one: tests/integration/test_systemd.py."""

import os

import pytest

from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.cgroups.systemd_units import UNIT_EXISTS, Refused, Scope
from pelagos_core.errors import FailedPrecondition, InvalidArgument
from pelagos_core.oci import Resources
from pelagos_core.task import systemd_manager
from pelagos_core.task.scope import ContainerScope

NO_GROUP = Cgroup(())


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


async def test_a_bus_that_is_not_there_is_named_and_no_process_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    before = children()
    scope = ContainerScope("c1", Scope("cri-c1.scope", "a.slice"), NO_GROUP)
    with pytest.raises(FailedPrecondition, match=r"systemd: scope 'cri-c1\.scope': .*D-Bus: .*No such file"):
        await scope.start(Resources())
    assert len(children()) == len(before) + 1
    await scope.stop()
    assert children() == before


class Systemd:
    """systemd's manager. answers: for each call what it raises, or nothing."""

    def __init__(self, monkeypatch, **answers):
        self.answers = answers
        self.called = []

        async def ask(conversation):
            await conversation(self)

        monkeypatch.setattr(systemd_manager, "ask", ask)

    async def version(self):
        return 252

    async def call(self, method, _signature, _words):
        self.called.append(method)
        if error := self.answers.get(method):
            raise error

    run = call


async def test_a_scope_of_this_name_that_is_another_containers_is_not_stopped(monkeypatch):
    systemd = Systemd(monkeypatch, StartTransientUnit=Refused(UNIT_EXISTS, "it exists"))
    scope = ContainerScope("c1", Scope("cri-c1.scope", "a.slice"), NO_GROUP)
    with pytest.raises(FailedPrecondition, match="it exists"):
        await scope.start(Resources())
    await scope.stop()
    assert systemd.called == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


async def test_a_limit_that_systemd_cannot_be_given_starts_nothing_and_stops_nothing(monkeypatch):
    systemd = Systemd(monkeypatch)
    scope = ContainerScope("c1", Scope("cri-c1.scope", "a.slice"), Cgroup((Group("/none"),)))
    with pytest.raises(InvalidArgument, match=r"memory\.max.*1G"):
        await scope.start(Resources(unified={"memory.max": "1G"}))
    await scope.stop()
    assert systemd.called == []


async def test_a_scope_that_cannot_be_stopped_is_no_error_for_its_group_is_removed(monkeypatch, caplog):
    systemd = Systemd(monkeypatch, StopUnit=OSError("no bus"))
    scope = ContainerScope("c1", Scope("cri-c1.scope", "a.slice"), NO_GROUP)
    await scope.start(Resources())
    await scope.stop()
    assert systemd.called == ["StartTransientUnit", "StopUnit"]
    assert "no bus" in caplog.text


async def test_a_plain_group_is_no_scope(monkeypatch):
    monkeypatch.setattr(os, "fork", None)
    scope = ContainerScope("c1", None, NO_GROUP)
    await scope.start(Resources())
    await scope.update(Resources())
    await scope.stop()
