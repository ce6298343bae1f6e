"""The shim's command line: Go-style single-dash flags and an action. Lean: no argparse."""

from pelagos_core.errors import InvalidArgument

# name in argv -> (attribute, whether it takes a value)
_FLAGS = {
    "namespace": ("namespace", True),
    "address": ("address", True),
    "publish-binary": ("publish_binary", True),
    "id": ("id", True),
    "bundle": ("bundle", True),
    "socket": ("socket", True),
    "debug-socket": ("debug_socket", True),
    "owner": ("owner", True),  # the directory of a run, see `runs`; containerd never passes it
    "debug": ("debug", False),
    "v": ("version", False),
    "info": ("info", False),
    "h": ("help", False),
    "help": ("help", False),
}

USAGE = """\
usage: {program} [-namespace NS] [-address SOCKET] [-publish-binary PATH] [-id ID]
                 [-bundle DIR] [-debug] start|delete
       {program} -v | -info

containerd executes this program; for other uses see `pelagos --help`.

  start    start or find the daemon of the bundle in the current directory, print its address
  delete   remove what a dead daemon has left of container ID, print its exit status
  -v       print the version
  -info    print the features of this runtime, as a containerd.types.RuntimeInfo
"""


class Flags:
    """The values of one command line. A flag that is not given is empty or False."""

    __slots__ = (
        "action",
        "address",
        "bundle",
        "debug",
        "debug_socket",
        "help",
        "id",
        "info",
        "namespace",
        "owner",
        "publish_binary",
        "socket",
        "version",
    )

    def __init__(self) -> None:
        self.action = ""
        self.namespace = self.address = self.publish_binary = self.id = self.bundle = ""
        self.socket = self.debug_socket = self.owner = ""
        self.debug = self.version = self.info = self.help = False


def parse(words: "list[str]") -> Flags:
    """Parse the arguments after the program's name.

    `-x v`, `-x=v` and both with two dashes are equivalent, as in Go's flag package. The first
    argument that is not a flag is the action. Raises InvalidArgument.
    """
    flags = Flags()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            flags.action = word
            break
        name, equals, value = word.lstrip("-").partition("=")
        if name not in _FLAGS:
            raise InvalidArgument(f"flag provided but not defined: -{name}")
        attribute, takes_value = _FLAGS[name]
        if not takes_value:
            setattr(flags, attribute, value not in ("false", "0", "f", "F", "FALSE", "False"))
            continue
        if not equals:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        setattr(flags, attribute, value)
    if rest:
        raise InvalidArgument(f"unexpected argument: {rest[0]}")
    return flags
