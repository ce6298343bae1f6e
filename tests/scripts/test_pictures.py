"""The drawings of the documents: those that are committed are those that the script draws."""

import re
from xml.etree import ElementTree

import pytest

from scripts import pictures

ROOT = pictures.PICTURES.parent.parent


@pytest.mark.parametrize("name", pictures.ALL)
def test_a_picture_is_as_the_script_draws_it(name):
    assert (pictures.PICTURES / f"{name}.svg").read_text() == pictures.ALL[name](), "python -m scripts.pictures"


@pytest.mark.parametrize("name", pictures.ALL)
def test_a_picture_says_in_words_what_it_shows(name):
    picture = ElementTree.fromstring(pictures.ALL[name]())
    parts = {element.get("id"): element.text for element in picture if element.get("id")}
    assert picture.get("role") == "img"
    assert all(parts[each] for each in picture.get("aria-labelledby").split())


def test_every_picture_is_made_by_a_script_and_shown_on_a_page():
    drawn = {path.stem for path in pictures.PICTURES.glob("*.svg") if not path.stem.startswith("screen-")}
    assert drawn == set(pictures.ALL)
    pages = [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
    shown = set(re.findall(r"pictures/([a-z-]+)\.svg", "\n".join([*pages, (ROOT / "mkdocs.yml").read_text()])))
    assert set(pictures.ALL) <= shown


def test_words_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="'far too many words' does not fit into 40 pixels"):
        pictures.Drawing("a", "b", 100).box("ours", (0, 0), (40, 20), "far too many words")


def test_no_page_has_a_drawing_in_text():
    for page in (ROOT / "docs").rglob("*.md"):
        assert not re.search(r"[─│┌┐└┘├┤┬┴┼╭╮╰╯▶◀▲▼]", page.read_text()), page
