"""Mount options, sorted out."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.rootfs.mount_options import OPTION_WORDS, Change, MountOptions, parse_options

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), MountOptions()),
        (("defaults",), MountOptions()),
        (("ro", "nosuid"), MountOptions(flags=RDONLY | NOSUID, change=Change(RDONLY | NOSUID))),
        (("ro", "rw"), MountOptions(change=Change(0, RDONLY))),
        (("nodev", "dev", "noexec"), MountOptions(flags=NOEXEC, change=Change(NOEXEC, NODEV))),
        (("bind",), MountOptions(bind=True)),
        (("rbind", "rprivate"), MountOptions(bind=True, recursive=True, deep=Change(propagation=1 << 18))),
        (("slave",), MountOptions(change=Change(propagation=1 << 19))),
        (("rshared", "runbindable"), MountOptions(deep=Change(propagation=1 << 17))),
        (("mode=755", "size=64k"), MountOptions(data="mode=755,size=64k")),
        (("noatime",), MountOptions(flags=1024, change=Change(0x10, 0x70))),
        (("noatime", "relatime"), MountOptions(flags=1 << 21, change=Change(0, 0x70))),
        (("strictatime", "lowerdir=/a:/b"), MountOptions(1 << 24, Change(0x20, 0x70), data="lowerdir=/a:/b")),
        (("rro", "rnoexec", "rexec"), MountOptions(deep=Change(RDONLY, NOEXEC))),
        (("sync", "lazytime", "nolazytime"), MountOptions(flags=16, of_file_system=("sync", "lazytime", "nolazytime"))),
        (("tmpcopyup", "ridmap"), MountOptions(own=frozenset({"tmpcopyup", "ridmap"}))),
    ],
)
def test_words_become_flags_and_the_rest_is_the_file_systems(words, options):
    assert parse_options(words) == options


@pytest.mark.parametrize("word", ["X-mount.mkdir", "x-systemd.automount", "loop", "remount", "copy-symlink", "nofail"])
def test_an_option_without_effect_is_refused(word):
    with pytest.raises(InvalidArgument, match=f"mount option '{word}' is not supported"):
        parse_options(("ro", word))


def test_every_reported_option_is_understood():
    for word in OPTION_WORDS:
        assert not parse_options((word,)).data, word
