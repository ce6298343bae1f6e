"""Moving a process into a group: files that stand for the kernel's. Real groups are in test_group."""

import os

import pytest

from pelagos_core.cgroups import joining
from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.errors import PermissionDenied
from tests.support.child import in_child


def test_a_group_that_cannot_be_joined_is_named(tmp_path):
    groups = []
    for name, controllers in (("v1", frozenset({"pids"})), ("v2", frozenset()), ("gone", frozenset({"cpu"}))):
        groups.append(Group(str(tmp_path / name), controllers))
        (tmp_path / name).mkdir()
    (tmp_path / "v1/tasks").touch()
    (tmp_path / "v2/cgroup.procs").touch()
    with pytest.raises(PermissionDenied, match=r"cgroup '.*/gone': cannot join: No such file"):
        in_child(lambda: joining.join(Cgroup(tuple(groups))))
    assert (tmp_path / "v1/tasks").read_text() == (tmp_path / "v2/cgroup.procs").read_text() == "0"


@pytest.mark.parametrize(("others", "joins"), [("1\n{}0\n", True), ("1\n{}\n22\n", False), ("{}\n", False)])
def test_a_process_does_not_join_the_group_of_v2_that_it_was_born_in(tmp_path, others, joins):
    (tmp_path / "cgroup.procs").touch()

    def run():
        text = "7\n" * 4000 + others.format(os.getpid())
        (tmp_path / "cgroup.procs").write_text(text)
        joining.join(Cgroup((Group(str(tmp_path)),)))
        return (tmp_path / "cgroup.procs").read_text() != text

    assert in_child(run) == joins
