"""A recording of a terminal, docs/pictures/screen-session.svg, which plays in a browser without a script.

    python -m scripts.cast          record it again

The commands run in a pseudo-terminal; what they print, and when, is drawn. Longer pauses are cut. A test runs the
commands again and compares the text, so that it stays true. With `prefers-reduced-motion` it shows its last moment.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/pictures/screen-session.svg"
COLUMNS = 76
# Of a person in the checkout. The program prints a line each second, so it is left to run for a while.
COMMANDS = (
    "pelagos run examples/hello.wat",
    "pelagos run -d --name clock examples/clock.wat",
    "pelagos ps",
    "pelagos logs clock",
    "pelagos stop clock",
)
_MAKES, _AFTERWARDS = "pelagos run -d ", "pelagos rm -f clock"
_WORK_SECONDS = {"pelagos ps": 2.0}  # before it
_KEY, _PROMPT, _PAUSE = 0.05, 0.9, 1.2  # seconds: a key, before a command, the longest pause
# Seconds of the whole session, before it plays and after: the first moment is what a page in print shows.
_BEFORE, _AFTER = 3.0, 4.0
_FONT, _ADVANCE, _LINE, _PAD = 13, 7.8, 19, 16
_CLEAR = "\r\x1b[K"
_RUN = re.compile(r"run-[0-9a-f]{8}")
_STYLE = """
.ground { fill: #f6f8fa; stroke: #d0d7de; }
.cover { fill: #f6f8fa; }
.cursor { fill: #0f766e; }
text { fill: #1f2328; font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre; }
.typed { font-weight: bold; }
.mark { fill: #0f766e; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; stroke: #30363d; }
  .cover { fill: #0d1117; }
  .cursor, .mark { fill: #2dd4bf; }
  text { fill: #e6edf3; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } .cover, .cursor { display: none; } }
"""


class Line(NamedTuple):
    """A line of the screen. at: seconds from the beginning. is_typed: by a person, one letter after the other."""

    at: float
    text: str
    is_typed: bool = False


def session(commands: Sequence[str] = COMMANDS) -> list[Line]:
    """Run the commands; the lines of the terminal. Raises RuntimeError if one fails."""
    lines: list[Line] = []
    now = _BEFORE + _PROMPT
    is_made = False
    try:
        for command in commands:
            time.sleep(_WORK_SECONDS.get(command, 0.0))
            lines.append(Line(now, f"$ {command}", is_typed=True))
            now += len(command) * _KEY + _PAUSE / 4
            for seconds, text in _printed(command):
                now += min(seconds, _PAUSE)
                lines.append(Line(now, text))
            now += _PROMPT
            is_made = is_made or command.startswith(_MAKES)
    finally:
        if is_made:  # else a container of this name is the user's
            _printed(_AFTERWARDS, may_fail=True)
    return lines


def _printed(command: str, *, may_fail: bool = False) -> list[tuple[float, str]]:
    """Each line that a command prints, and how many seconds after the one before. Of a line drawn again the last."""
    words = shlex.split(command)
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        os.chdir(ROOT)
        program = Path(sys.executable).parent / words[0]
        os.execve(program, words, {**os.environ, "TERM": "xterm"})  # noqa: S606 (the terminal is the point)
    found: list[tuple[float, str]] = []
    rest, before = b"", time.monotonic()
    while chunk := _read(terminal):  # it may end within a character
        *complete, rest = (rest + chunk).split(b"\r\n")
        for line in complete:
            found.append((time.monotonic() - before, line.decode().rpartition(_CLEAR)[2]))
            before = time.monotonic()
    os.close(terminal)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) and not may_fail:
        raise RuntimeError(f"{command}: {[text for _, text in found]}")
    return found


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the command has ended
        return b""


def normalised(text: str) -> str:
    """A line without what differs from one recording to the next: ids, processes, ages, and the columns they make."""
    return " ".join(re.sub(r"\b\d+s?\b", "N", _RUN.sub("run-ID", text)).split())


def draw(lines: Sequence[Line]) -> str:
    """The recording as SVG."""
    whole = lines[-1].at + _AFTER
    width = round(COLUMNS * _ADVANCE) + 2 * _PAD
    height = len(lines) * _LINE + 2 * _PAD
    styles, shapes = [_STYLE], []
    for number, line in enumerate(lines):
        y = _PAD + number * _LINE
        shapes += _shapes(line, number, y, width)
        styles += _movements(line, number, whole)
    title = "A session: " + "; ".join(line.text.removeprefix("$ ") for line in lines if line.is_typed)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{''.join(styles)}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        f'<clipPath id="screen"><rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="6"/></clipPath>',
        f'<g clip-path="url(#screen)" font-size="{_FONT}">',
        *shapes,
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _shapes(line: Line, number: int, y: int, width: int) -> list[str]:
    if not line.text:
        return []
    length = f'textLength="{round(len(line.text) * _ADVANCE, 1)}" lengthAdjust="spacingAndGlyphs"'
    kind = "typed " if line.is_typed else ""
    text = escape(line.text)
    if line.is_typed:
        text = f'<tspan class="mark">$</tspan>{text[1:]}'
    found = [f'<text class="{kind}l{number}" x="{_PAD}" y="{y + 14}" {length} xml:space="preserve">{text}</text>']
    if line.is_typed:
        x = _PAD + 2 * _ADVANCE
        cover = f'<rect class="cover" x="{x}" y="{y}" width="{width}" height="{_LINE}"/>'
        cursor = f'<rect class="cursor" x="{x}" y="{y + 2}" width="{_ADVANCE}" height="{_LINE - 4}"/>'
        found.append(f'<g class="c{number}">{cover}{cursor}</g>')
    return found


def _movements(line: Line, number: int, whole: float) -> list[str]:
    """The keyframes of a line: it appears; what covers a typed one moves away with each key."""
    if not line.text:
        return []

    def at(seconds: float) -> str:
        return f"{100 * seconds / whole:.2f}%"

    shown = line.at - _PROMPT / 2 if line.is_typed else line.at
    moments = f"0% {{ opacity: 1 }} {at(_BEFORE)} {{ opacity: 0 }} {at(shown)}, 100% {{ opacity: 1 }}"
    found = [
        f"@keyframes l{number} {{ {moments} }}\n",
        f".l{number} {{ animation: l{number} {whole:.1f}s step-end infinite }}\n",
    ]
    if line.is_typed:
        keys = len(line.text) - 2
        end = line.at + keys * _KEY
        distance = round(keys * _ADVANCE, 1)
        found += [
            f"@keyframes c{number} {{ 0% {{ transform: none; opacity: 0; animation-timing-function: step-end }} "
            f"{at(shown)} {{ transform: none; opacity: 1; animation-timing-function: step-end }} "
            f"{at(line.at)} {{ transform: none; opacity: 1; animation-timing-function: steps({keys}) }} "
            f"{at(end)} {{ transform: translateX({distance}px); opacity: 1; animation-timing-function: step-end }} "
            f"{at(end + _PAUSE / 4)}, 100% {{ transform: translateX({distance}px); opacity: 0 }} }}\n",
            f".c{number} {{ animation: c{number} {whole:.1f}s infinite }}\n",
        ]
    return found


if __name__ == "__main__":
    PICTURE.write_text(draw(session()))
    print(PICTURE)
