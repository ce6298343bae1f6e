"""The program that containerd executes: parse the command line and run one action. Lean.

Imports stay inside the branches: `start` and `delete` are on containerd's critical path.
"""

import os
import sys

from pelagos_core import __version__
from pelagos_core.errors import PelagosError
from pelagos_core.shim import flags as command_line
from pelagos_core.shim import standard_streams

_INFO = "from pelagos_core.daemon.info import main; main()"


def main() -> None:
    """Run the shim's command line and exit.

    Exit codes: 0; 1 for a failure, with one line on stderr; 2 for a missing or unknown action.
    """
    standard_streams.open_closed()
    program = os.path.basename(sys.argv[0])
    try:
        flags = command_line.parse(sys.argv[1:])
        output = _output(flags, program)
    except PelagosError as error:
        _leave(2, f"{program}: {error}\n", 1)
    except OSError as error:
        _leave(2, f"{program}: {error}\n", 1)
    else:
        _leave(1, output, 0)


def _output(flags: command_line.Flags, program: str) -> "str | bytes":
    if flags.version:
        return f"{program}:\n  Version:  {__version__}\n"
    if flags.info:
        os.execv(sys.executable, [sys.executable, "-I", "-c", _INFO])
    if flags.action == "start":
        from pelagos_core.shim.start import start

        return start(flags, sys.argv[1:])
    if flags.action == "delete":
        from pelagos_core.shim.delete import delete

        return delete(flags)
    usage = command_line.USAGE.format(program=program)
    if flags.help:
        return usage
    _leave(2, usage if not flags.action else f"{program}: unknown action {flags.action!r}\n{usage}", 2)
    return ""


def _leave(fd: int, text: "str | bytes", code: int) -> None:
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    while data:
        data = data[os.write(fd, data) :]
    os._exit(code)  # no finalisation, which takes milliseconds; nothing is buffered
