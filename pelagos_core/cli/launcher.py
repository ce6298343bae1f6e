"""The shim's launcher: a file that containerd can execute, of this Python environment.

It is the compiled one where the distribution pelagos-native is installed, and a Python script else.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pelagos_core
from pelagos_core.errors import InvalidArgument
from pelagos_core.shim import zygote_request

if TYPE_CHECKING:
    from pathlib import Path

MARK = "# Written by `pelagos install`; `pelagos uninstall` removes it."
NAMES = ("containerd-shim-wasm-v1", "containerd-shim-pelagos-wasm-v1")

# -I: the bundle is the working directory, nothing may be imported from it.
# -S: site-packages would cost `start` and `delete` most of their time.
FLAGS = "-IS"
_MAX_SHEBANG = 127  # execve(2): what every kernel that is still in use reads of the first line


# What the compiled one has in the place of its settings (native/settings.c), and the size of that.
_TAG = b"@pelagos-launcher-settings@"
_SETTINGS_SIZE = 4096


def program() -> bytes:
    """The launcher that `pelagos install` writes: the compiled one where there is one.

    Raises InvalidArgument if a path cannot be written into it.
    """
    path = compiled()
    return source().encode() if path is None else _with_settings(path.read_bytes())


def kind(content: bytes) -> str:
    """Which of both a launcher is, for people."""
    return "compiled" if content.startswith(b"\x7fELF") else "in Python"


def is_ours(content: bytes) -> bool:
    """Whether a file was written by `pelagos install`, of any environment and version."""
    return MARK.encode() in content


def compiled() -> Path | None:
    """The compiled launcher, without settings; None where pelagos-native is not installed."""
    try:
        from pelagos_native import LAUNCHER
    except ImportError:
        return None
    return LAUNCHER if LAUNCHER.is_file() else None


def _with_settings(launcher: bytes) -> bytes:
    """A compiled launcher with what it must know of this environment, in place of its tag.

    In the file itself: no other file has to be found, or checked for who could write to it, and both are
    replaced by one rename.
    """
    _checked(sys.executable)
    code = f"import sys; del sys.argv[0]\n{body()}"  # after `-c` the words begin with the program's name
    texts = (MARK, *zygote_request.installation(), code)
    settings = b"".join(os.fsencode(text) + b"\0" for text in texts)
    place = _TAG.ljust(_SETTINGS_SIZE, b"\0")
    if len(settings) > _SETTINGS_SIZE or launcher.count(place) != 1:
        raise InvalidArgument(f"the interpreter's path {sys.executable!r} does not fit into a launcher")
    return launcher.replace(place, settings.ljust(_SETTINGS_SIZE, b"\0"))


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
    """The whole launcher in Python.

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
