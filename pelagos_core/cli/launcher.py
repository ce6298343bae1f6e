"""The shim's launcher: a file that containerd can execute, of this Python environment."""

from __future__ import annotations

import os
import sys

import pelagos_core
from pelagos_core.errors import InvalidArgument

MARK = "# Written by `pelagos install`; `pelagos uninstall` removes it."
NAMES = ("containerd-shim-wasm-v1", "containerd-shim-pelagos-wasm-v1")

# -I: the bundle is the working directory, nothing may be imported from it.
# -S: site-packages would cost `start` and `delete` most of their time.
FLAGS = "-IS"
_MAX_SHEBANG = 127  # execve(2): what every kernel that is still in use reads of the first line


def body() -> str:
    """The launcher's Python code, without the first line."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(pelagos_core.__file__)))
    return "\n".join(
        (
            "import sys",
            f"sys.path.append({package!r})",  # last: the standard library comes first
            "from pelagos_core.shim.main import main",
            "main()",
            "",
        )
    )


UNIT = "pelagos-zygote.service"


def unit() -> str:
    """A systemd unit that keeps the zygote of this environment.

    Shims are forked from it and then moved to containerd's group, so it can be restarted.
    Raises InvalidArgument if the interpreter's path cannot be written into it.
    """
    interpreter = _checked(sys.executable).replace("%", "%%")
    return f"""\
{MARK}
[Unit]
Description=pelagos zygote: keeps the WebAssembly engines loaded, so that pods start at once
Before=containerd.service

[Service]
ExecStart="{interpreter}" -I -m pelagos_core zygote
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def source() -> str:
    """The whole launcher.

    Raises InvalidArgument if the interpreter's path cannot be written into it.
    """
    return f"{_first_lines(sys.executable)}{MARK}\n{body()}"


def _first_lines(interpreter: str) -> str:
    _checked(interpreter)
    line = f"#!{interpreter} {FLAGS}\n"
    if " " not in interpreter and len(line) <= _MAX_SHEBANG:
        return line
    # A shebang holds neither spaces nor long paths. To sh the second line is an exec, to
    # Python a string.
    return f"#!/bin/sh\n'''exec' \"{interpreter}\" {FLAGS} \"$0\" \"$@\"\n' '''\n"


def _checked(interpreter: str) -> str:
    if not os.path.isabs(interpreter) or any(character in interpreter for character in "\n'\"\\$`"):
        raise InvalidArgument(f"the interpreter's path {interpreter!r} cannot be put into a launcher")
    return interpreter
