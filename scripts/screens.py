"""Draw the pictures of a terminal for the documentation: each shows what a command prints.

    python -m scripts.screens          draw docs/pictures/screen-*.svg again

A test compares the text in the pictures with what the commands print.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs/pictures"
COLUMNS = 80
# The name of each picture, and its commands, as typed in the checkout.
SCREENS: Mapping[str, tuple[str, ...]] = {
    "run": ("pelagos run examples/hello.wat", "pelagos run --env NAME=you -v ./examples:/data:ro examples/hello.wat"),
    "help": ("pelagos --help",),
}
_THEME = TerminalTheme((15, 23, 42), (226, 232, 240), [(15, 23, 42)] * 8, [(226, 232, 240)] * 8)
# rich's own template, without the font that it would load from a server.
_TEMPLATE = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""  # noqa: E501 (a line of CSS)


def session(commands: tuple[str, ...]) -> str:
    """The text of a terminal after these commands."""
    parts = []
    for command in commands:
        environment = {
            **os.environ,
            "COLUMNS": str(COLUMNS),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            shlex.split(command), cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        parts.append(f"$ {command}\n{done.stdout}")
    return "\n".join(parts).rstrip("\n")


def draw(name: str) -> str:
    """The picture as SVG."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    for line in session(SCREENS[name]).splitlines():
        console.print(Text(line, style="bold" if line.startswith("$ ") else ""))
    return console.export_svg(title="", theme=_THEME, code_format=_TEMPLATE, unique_id=f"screen-{name}")


if __name__ == "__main__":
    for each in SCREENS:
        (PICTURES / f"screen-{each}.svg").write_text(draw(each))
        print(PICTURES / f"screen-{each}.svg")
