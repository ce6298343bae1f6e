"""Labels of Linux security modules: as files that stand for the kernel's."""

import os

import pytest

from pelagos_core.errors import FailedPrecondition, PermissionDenied
from pelagos_core.linux import security_labels
from pelagos_core.linux.security_labels import open_label, write_label

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
    monkeypatch.setattr(security_labels, "_APPARMOR_SWITCH", str(tmp_path / "enabled"))
    monkeypatch.setattr(security_labels, "_SELINUX_MOUNT", str(tmp_path / "selinux"))
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
def test_a_label_is_written_as_its_module_wants_it(host, field, executed, file, text):
    label = open_label(field, "mine", executed=executed)
    assert (host / "attr" / file).read_text() == ""
    write_label(label, field, "mine", executed=executed)
    assert (host / "attr" / file).read_text() == text


def test_apparmors_own_directory_is_used_where_there_is_one(host):
    (host / "attr/apparmor").mkdir()
    (host / "attr/apparmor/exec").touch()
    write_label(open_label(APPARMOR, "mine", executed=True), APPARMOR, "mine", executed=True)
    assert (host / "attr/apparmor/exec").read_text() == "exec mine"


@pytest.mark.parametrize(
    ("field", "module", "path"), [(APPARMOR, "AppArmor", "enabled"), (SELINUX, "SELinux", "selinux/enforce")]
)
def test_a_host_without_the_module_refuses_by_name(host, field, module, path):
    os.unlink(host / path)
    with pytest.raises(FailedPrecondition, match=f"{field}: 'mine': this host has no {module}"):
        open_label(field, "mine", executed=True)


def test_a_module_that_is_switched_off_is_none(host):
    (host / "enabled").write_text("N\n")
    assert not security_labels.has_apparmor()


def test_a_refusal_of_the_module_is_named(host):
    (host / "attr/exec").unlink()
    os.symlink("/dev/full", host / "attr/exec")
    label = open_label(SELINUX, "mine", executed=True)
    with pytest.raises(PermissionDenied, match=f"{SELINUX}: 'mine': No space"):
        write_label(label, SELINUX, "mine", executed=True)
    (host / "attr/exec").unlink()
    with pytest.raises(PermissionDenied, match=f"{SELINUX}: 'mine': No such file"):
        open_label(SELINUX, "mine", executed=True)
