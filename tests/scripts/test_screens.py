"""Pictures of a terminal: they show what the commands print now."""

import html
import re

import pytest

from scripts import screens

pytestmark = [pytest.mark.container]


@pytest.mark.parametrize("name", screens.SCREENS)
def test_a_picture_shows_what_its_commands_print(name):
    drawn = (screens.PICTURES / f"screen-{name}.svg").read_text()
    shown = "\n".join(re.findall(r"<text[^>]*>(.*?)</text>", drawn))
    shown = html.unescape(shown).replace("\N{NO-BREAK SPACE}", " ")
    for line in filter(None, map(str.strip, screens.session(screens.SCREENS[name]).splitlines())):
        assert line in shown, f"{line!r} is not in it: `make pictures` draws it again"


def test_a_picture_needs_no_network():
    for name in screens.SCREENS:
        assert "http" not in (screens.PICTURES / f"screen-{name}.svg").read_text().replace("http://www.w3.org", "")
