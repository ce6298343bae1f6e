"""Parsing of mount options. Pure: no system calls.

Source: mount(8), mount(2), mount_setattr(2), OCI runtime spec "Linux mount options".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux.syscalls import MS_PRIVATE, MS_RDONLY, MS_SHARED, MS_SLAVE, MS_UNBINDABLE

ATTR_RDONLY = 0x01
ATTR_NOSUID = 0x02
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08
_ATTR_ATIME = 0x70
_MS_ATIME = 1024 | 1 << 21 | 1 << 24  # noatime, relatime, strictatime: mutually exclusive

# word -> (MS_ flag of mount(2), MOUNT_ATTR_ flag of mount_setattr(2))
_ATTRIBUTES = {
    "ro": (MS_RDONLY, ATTR_RDONLY),
    "nosuid": (2, ATTR_NOSUID),
    "nodev": (4, ATTR_NODEV),
    "noexec": (8, ATTR_NOEXEC),
    "nosymfollow": (256, 0x00200000),
    "noatime": (1024, 0x10),
    "nodiratime": (2048, 0x80),
    "relatime": (1 << 21, 0),
    "strictatime": (1 << 24, 0x20),
}
# Flags of a file system: a bind mount cannot have them.
_OF_FILE_SYSTEM = {
    "sync": 16,
    "mand": 64,
    "dirsync": 128,
    "silent": 1 << 15,
    "acl": 1 << 16,
    "iversion": 1 << 23,
    "lazytime": 1 << 25,
}
_CLEAR = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "symfollow": "nosymfollow",
    "atime": "noatime",
    "diratime": "nodiratime",
    "norelatime": "relatime",
    "nostrictatime": "strictatime",
    "async": "sync",
    "nomand": "mand",
    "loud": "silent",
    "noacl": "acl",
    "noiversion": "iversion",
    "nolazytime": "lazytime",
}
_CLEAR_ATTRIBUTES = {word: of for word, of in _CLEAR.items() if of in _ATTRIBUTES}
PROPAGATION = {"unbindable": MS_UNBINDABLE, "private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}
_IGNORED = frozenset({"defaults", "bind", "rbind", ""})
_OWN = frozenset({"tmpcopyup", "idmap", "ridmap"})
# Options of mount(8), fstab(5) or another runtime that would have no effect here.
_REFUSED = frozenset(
    {"remount", "loop", "copy-symlink", "auto", "noauto", "user", "users", "owner", "nofail", "_netdev"}
)
OPTION_WORDS = {
    *_ATTRIBUTES,
    *_CLEAR,
    *_OF_FILE_SYSTEM,
    *PROPAGATION,
    *(f"r{word}" for word in (*PROPAGATION, *_ATTRIBUTES, *_CLEAR_ATTRIBUTES)),
    *_OWN,
    "bind",
    "rbind",
}
_FLAGS = {**_OF_FILE_SYSTEM, **{name: flag for name, (flag, _) in _ATTRIBUTES.items()}}


@dataclass(frozen=True, slots=True)
class Change:
    """Attributes of mount_setattr(2) to set and to clear, and an MS_ propagation flag; 0: unchanged."""

    attr_set: int = 0
    attr_clr: int = 0
    propagation: int = 0

    def __bool__(self) -> bool:
        return bool(self.attr_set or self.attr_clr or self.propagation)

    def setting(self, flag: int) -> Change:
        """This change, with one more attribute set (0: the default access times, `relatime`)."""
        attr_set, attr_clr = self.attr_set, self.attr_clr
        if flag & _ATTR_ATIME or not flag:
            attr_set &= ~_ATTR_ATIME
            attr_clr |= _ATTR_ATIME  # mount_setattr(2): the field must be cleared as a whole before it is set
        return Change(attr_set | flag, attr_clr, self.propagation)

    def clearing(self, flag: int) -> Change:
        """This change, with one more attribute cleared."""
        whole = _ATTR_ATIME if flag & _ATTR_ATIME else flag
        return Change(self.attr_set & ~flag, self.attr_clr | whole, self.propagation)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Parsed mount options.

    flags: for mount(2). change: for the mount itself. deep: for it and all mounts below.
    recursive: whether a bind includes submounts. of_file_system: words that a bind cannot have.
    own: those of `tmpcopyup`, `idmap` and `ridmap` that are present.
    data: the words for the file system, joined by commas.
    """

    flags: int = 0
    change: Change = Change()
    deep: Change = Change()
    bind: bool = False
    recursive: bool = False
    of_file_system: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()
    data: str = ""

    @property
    def propagation(self) -> int:
        """The requested MS_ propagation flag; 0 for none."""
        return self.change.propagation or self.deep.propagation


@functools.lru_cache(maxsize=256)  # called several times for each mount, mostly with the same few options
def parse_options(words: tuple[str, ...]) -> MountOptions:
    """Parse option words; later words override earlier ones, as in mount(8).

    Raises InvalidArgument that names a word that would have no effect.
    """
    flags, change, deep = 0, Change(), Change()
    of_file_system, data = [], []
    for word in words:
        if word in _ATTRIBUTES or word in _CLEAR_ATTRIBUTES:
            change, flags = _attribute(change, word), _flags(flags, word)
        elif word in _OF_FILE_SYSTEM or word in _CLEAR:
            flags = _flags(flags, word)
            of_file_system.append(word)
        elif word in PROPAGATION:
            change = Change(change.attr_set, change.attr_clr, PROPAGATION[word])
        elif word[:1] == "r" and word[1:] in PROPAGATION:
            deep = Change(deep.attr_set, deep.attr_clr, PROPAGATION[word[1:]])
        elif word[:1] == "r" and (word[1:] in _ATTRIBUTES or word[1:] in _CLEAR_ATTRIBUTES):
            deep = _attribute(deep, word[1:])
        elif word in _REFUSED or word[:2].lower() == "x-":
            raise InvalidArgument(f"mount option {word!r} is not supported")
        elif word not in _IGNORED and word not in _OWN:
            data.append(word)
    return MountOptions(
        flags=flags,
        change=change,
        deep=deep,
        bind="bind" in words or "rbind" in words,
        recursive="rbind" in words,
        of_file_system=tuple(of_file_system),
        own=_OWN.intersection(words),
        data=",".join(data),
    )


def _attribute(change: Change, word: str) -> Change:
    if word in _ATTRIBUTES:
        return change.setting(_ATTRIBUTES[word][1])
    return change.clearing(_ATTRIBUTES[_CLEAR[word]][1])


def _flags(flags: int, word: str) -> int:
    if word not in _FLAGS:
        return flags & ~_FLAGS[_CLEAR[word]]
    others = _MS_ATIME if _FLAGS[word] & _MS_ATIME else 0
    return flags & ~others | _FLAGS[word]
