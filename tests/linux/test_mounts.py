"""Mount options, sorted out."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import mounts
from pelagos_core.linux.mounts import MountOptions, parse_options
from pelagos_core.spec import Mount

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), MountOptions()),
        (("defaults",), MountOptions()),
        (("ro", "nosuid"), MountOptions(flags=RDONLY | NOSUID, attr_set=RDONLY | NOSUID)),
        (("ro", "rw"), MountOptions(attr_clr=RDONLY)),
        (("nodev", "dev", "noexec"), MountOptions(flags=NOEXEC, attr_set=NOEXEC, attr_clr=NODEV)),
        (("bind",), MountOptions(bind=True)),
        (("rbind", "rprivate"), MountOptions(bind=True, recursive=True, propagation=1 << 18)),
        (("slave",), MountOptions(propagation=1 << 19)),
        (("shared", "runbindable"), MountOptions(propagation=1 << 17)),
        (("mode=755", "size=64k"), MountOptions(data="mode=755,size=64k")),
        (("noatime",), MountOptions(flags=1024, attr_set=0x10, attr_clr=0x70)),
        (("noatime", "relatime"), MountOptions(flags=1024 | 1 << 21, attr_clr=0x70)),
        (
            ("strictatime", "lowerdir=/a:/b"),
            MountOptions(flags=1 << 24, attr_set=0x20, attr_clr=0x70, data="lowerdir=/a:/b"),
        ),
    ],
)
def test_words_become_flags_and_the_rest_is_the_file_systems(words, options):
    assert parse_options(words) == options


def test_a_bind_takes_no_options_of_a_file_system(tmp_path):
    with pytest.raises(InvalidArgument, match="unknown option 'size=1'"):
        mounts.attach(Mount("/x", "bind", str(tmp_path), ("size=1",)), -1)


def test_a_source_is_a_file_a_directory_or_missing(tmp_path):
    (tmp_path / "file").touch()
    assert mounts.is_file(str(tmp_path / "file"))
    assert not mounts.is_file(str(tmp_path))
    with pytest.raises(InvalidArgument, match=r"mount source .*none"):
        mounts.is_file(str(tmp_path / "none"))
