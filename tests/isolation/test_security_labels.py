"""Labels of Linux security modules: as files that stand for the kernel's."""

import os
from dataclasses import replace

import pytest

from pelagos_core.errors import FailedPrecondition, PermissionDenied
from pelagos_core.isolation import security_labels
from pelagos_core.isolation.identity import ApplyLabel, CheckMountLabel, OpenLabel
from pelagos_core.isolation.operation import execute
from tests.support.steps import take

APPARMOR, SELINUX = "process.apparmorProfile", "process.selinuxLabel"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with both modules."""
    (tmp_path / "enabled").write_text("Y\n")
    (tmp_path / "selinux").mkdir()
    (tmp_path / "selinux/enforce").write_text("1")
    (tmp_path / "attr").mkdir()
    for name in ("exec", "current"):
        (tmp_path / "attr" / name).touch()
    for name, path in (("APPARMOR", "enabled"), ("SELINUX", "selinux/enforce")):
        module = getattr(security_labels, name)
        monkeypatch.setattr(security_labels, name, replace(module, path=str(tmp_path / path)))
    monkeypatch.setattr(security_labels, "_ATTRIBUTES", str(tmp_path / "attr"))
    return tmp_path


@pytest.mark.parametrize(
    ("field", "executed", "file", "text"),
    [
        (APPARMOR, True, "exec", "exec mine"),
        (APPARMOR, False, "current", "changeprofile mine"),
        (SELINUX, True, "exec", "mine"),
        (SELINUX, False, "current", "mine"),
    ],
)
def test_a_label_has_the_format_of_its_security_module(host, field, executed, file, text):
    state = take(OpenLabel(field, "mine", executed))
    assert (host / "attr" / file).read_text() == ""
    assert field in state.descriptors
    execute([ApplyLabel(field, "mine", executed)], state)
    assert (host / "attr" / file).read_text() == text
    assert field not in state.descriptors


def test_apparmors_own_directory_is_used_where_there_is_one(host):
    (host / "attr/apparmor").mkdir()
    (host / "attr/apparmor/exec").touch()
    take(OpenLabel(APPARMOR, "mine", True), ApplyLabel(APPARMOR, "mine", True))
    assert (host / "attr/apparmor/exec").read_text() == "exec mine"


@pytest.mark.parametrize(
    ("field", "module", "path"), [(APPARMOR, "AppArmor", "enabled"), (SELINUX, "SELinux", "selinux/enforce")]
)
def test_a_host_without_the_module_refuses_by_name(host, field, module, path):
    os.unlink(host / path)
    with pytest.raises(FailedPrecondition, match=f"{field}: 'mine': this host has no {module}"):
        take(OpenLabel(field, "mine", True))


def test_a_module_that_is_switched_off_is_none(host):
    (host / "enabled").write_text("N\n")
    with pytest.raises(FailedPrecondition, match="this host has no AppArmor"):
        take(OpenLabel(APPARMOR, "mine", True))


def test_mounts_are_labelled_where_there_is_selinux(host):
    take(CheckMountLabel("mine"))
    os.unlink(host / "selinux/enforce")
    with pytest.raises(FailedPrecondition, match=r"linux\.mountLabel: 'mine': this host has no SELinux"):
        take(CheckMountLabel("mine"))


def test_a_refusal_of_the_module_is_named(host):
    (host / "attr/exec").unlink()
    os.symlink("/dev/full", host / "attr/exec")
    with pytest.raises(PermissionDenied, match=f"{SELINUX}: 'mine': No space"):
        take(OpenLabel(SELINUX, "mine", True), ApplyLabel(SELINUX, "mine", True))
    (host / "attr/exec").unlink()
    with pytest.raises(PermissionDenied, match=f"{SELINUX}: 'mine': No such file"):
        take(OpenLabel(SELINUX, "mine", True))
