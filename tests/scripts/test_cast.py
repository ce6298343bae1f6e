"""The recording of a terminal: it shows what the commands print now, and plays without a script or a network."""

import html
import itertools
import re
from xml.etree import ElementTree

import pytest

from scripts import cast

DRAWN = cast.PICTURE.read_text()


def lines_of(texts):
    """Lines without what differs from one recording to the next; the program's own lines once."""
    return [line for line, _ in itertools.groupby(map(cast.normalised, texts))]


@pytest.mark.container
@pytest.mark.slow
def test_the_recording_shows_what_the_commands_print():
    shown = [html.unescape(re.sub("<[^>]*>", "", text)) for text in re.findall("<text.*?</text>", DRAWN)]
    assert lines_of(shown) == lines_of(line.text for line in cast.session() if line.text), "`make pictures` records it"


def test_a_container_of_the_user_with_its_name_stays(monkeypatch):
    calls = []

    def printed(command, **_):
        calls.append(command)
        if command.startswith("pelagos run -d"):
            raise RuntimeError("the name is in use")
        return []

    monkeypatch.setattr(cast, "_printed", printed)
    with pytest.raises(RuntimeError):
        cast.session()
    assert calls == list(cast.COMMANDS[:2])


def test_it_is_a_picture_that_needs_nothing_and_names_no_machine():
    assert ElementTree.fromstring(DRAWN).tag.endswith("svg")
    assert "script" not in DRAWN
    assert "http" not in DRAWN.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"/(work|root|home|tmp)/", DRAWN)
    assert "prefers-color-scheme: dark" in DRAWN
    assert "prefers-reduced-motion" in DRAWN


def test_lines_appear_in_their_order_and_typed_ones_letter_by_letter():
    drawn = cast.draw([cast.Line(4.0, "$ ls -l", is_typed=True), cast.Line(5.0, "a < b"), cast.Line(6.0, "")])
    assert "a &lt; b" in drawn
    assert "steps(5)" in drawn
    assert drawn.count("<text") == 2
    assert "10.0s" in drawn
