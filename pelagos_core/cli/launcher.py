"""The shim's launcher: the file that containerd executes, for this Python environment.

It is a compiled program if the distribution pelagos-native is installed, else a Python script.
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
_MAX_SHEBANG = 127  # execve(2): older kernels read only this many bytes of the first line


# The placeholder for the settings in the compiled launcher (native/settings.c), and its size.
_TAG = b"@pelagos-launcher-settings@"
_SETTINGS_SIZE = 4096


def program() -> bytes:
    """The launcher that `pelagos install` writes: the compiled one if it is installed.

    Raises InvalidArgument if a path does not fit into it.
    """
    path = compiled()
    return source().encode() if path is None else _with_settings(path.read_bytes())


def kind(content: bytes) -> str:
    """The kind of a launcher, for messages."""
    return "compiled" if content.startswith(b"\x7fELF") else "in Python"


def is_ours(content: bytes) -> bool:
    """Whether `pelagos install` of any environment and version has written the file."""
    return MARK.encode() in content


def compiled() -> Path | None:
    """The path of the compiled launcher, without settings; None if pelagos-native is not installed."""
    try:
        from pelagos_native import LAUNCHER
    except ImportError:
        return None
    return LAUNCHER if LAUNCHER.is_file() else None


def _with_settings(launcher: bytes) -> bytes:
    """A compiled launcher with the settings of this environment instead of its placeholder.

    The settings are in the file itself. So the launcher need not find another file and check its owner, and an
    update replaces both by one rename(2).
    """
    _checked(sys.executable)
    code = f"import sys; del sys.argv[0]\n{body()}"  # after `-c`, argv contains the launcher's name too
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
    """A systemd unit that runs the zygote of this environment.

    Shims that it forks are moved to containerd's control group, so the unit can be restarted.
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
    # A shebang cannot contain spaces or long paths. For sh the second line is an exec, for
    # Python it is a string.
    return f"#!/bin/sh\n'''exec' \"{interpreter}\" {FLAGS} \"$0\" \"$@\"\n' '''\n"


def _checked(interpreter: str) -> str:
    if not os.path.isabs(interpreter) or any(character in interpreter for character in "\n'\"\\$`"):
        raise InvalidArgument(f"the interpreter's path {interpreter!r} cannot be put into a launcher")
    return interpreter
