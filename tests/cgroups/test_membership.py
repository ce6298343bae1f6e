"""Moving to where another process is, hierarchy by hierarchy."""

import os

import pytest

from pelagos_core.cgroups.membership import move_to

MOUNTS = """\
25 20 0:22 / {0}/cpu rw - cgroup cgroup rw,cpu,cpuacct
26 20 0:23 / {0}/name rw - cgroup cgroup rw,xattr,name=systemd
27 20 0:24 / {0}/two\\040words rw - cgroup2 cgroup2 rw,nsdelegate
28 20 0:25 / / rw - ext4 /dev/vda rw
"""


@pytest.fixture
def place(tmp_path):
    for group in ("cpu/a", "cpu/b", "name/s", "two words/u", "two words"):
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / ("cgroup.procs" if "two words" in group else "tasks")).touch()
    return tmp_path


def moved(place, wanted, own):
    move_to(wanted, own, MOUNTS.format(place))
    written = [path for name in ("tasks", "cgroup.procs") for path in place.rglob(name) if path.read_text()]
    return sorted(str(path.parent.relative_to(place)) for path in written)


def test_only_what_differs_is_written(place):
    own = "9:cpu,cpuacct:/a\n1:name=systemd:/\n0::/\n"
    assert moved(place, own, own) == []
    assert moved(place, "9:cpu,cpuacct:/b\n1:name=systemd:/s\n0::/u\n", own) == ["cpu/b", "name/s", "two words/u"]


def test_the_root_of_a_hierarchy_is_a_group_too(place):
    assert moved(place, "0::/\n", "0::/u\n") == ["two words"]


def test_a_group_that_is_not_there_is_an_error(place):
    with pytest.raises(FileNotFoundError, match="gone"):
        move_to("0::/gone\n", "0::/\n", MOUNTS.format(place))
    with pytest.raises(FileNotFoundError, match="memory"):
        move_to("4:memory:/a\n", "4:memory:/\n", MOUNTS.format(place))
    assert os.listdir(place)
