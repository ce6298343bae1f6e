"""A container's scope where systemd cannot be asked. The real one: tests/integration/test_systemd.py."""

import os

import pytest

from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.linux.systemd_units import Scope
from pelagos_core.spec import Resources
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
    with pytest.raises(FailedPrecondition, match="D-Bus"):
        await scope.stop()
    assert children() == before


async def test_a_plain_group_is_no_scope(monkeypatch):
    monkeypatch.setattr(os, "fork", None)
    scope = ContainerScope("c1", None, NO_GROUP)
    await scope.start(Resources())
    await scope.update(Resources())
    await scope.stop()
