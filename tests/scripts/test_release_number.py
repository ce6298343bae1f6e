"""The version: its one place, what follows it, which number may be next, the changelog's sections."""

import datetime
import re
import shutil

import pytest
from packaging.version import Version

from scripts import release_number
from scripts.release_number import NotReleasable

_DAY = datetime.date(2026, 12, 1)
_CHANGELOG = """# Changes

## Unreleased

### Added

- A thing.
"""


def test_what_is_unreleased_gets_the_number_and_the_day():
    assert release_number.dated(_CHANGELOG, "0.1.0", _DAY) == _CHANGELOG.replace(
        "## Unreleased\n", "## Unreleased\n\n## 0.1.0 - 2026-12-01\n"
    )


def test_a_second_release_needs_something_to_release():
    once = release_number.dated(_CHANGELOG, "0.1.0", _DAY)
    with pytest.raises(NotReleasable, match="no entry under"):
        release_number.dated(once, "0.1.1", _DAY)


def test_headings_alone_are_nothing_to_release():
    with pytest.raises(NotReleasable, match="no entry under"):
        release_number.dated(_CHANGELOG.replace("- A thing.\n", ""), "0.1.0", _DAY)


def test_a_changelog_without_the_heading_is_reported():
    with pytest.raises(NotReleasable, match="no heading"):
        release_number.dated("# Changes\n\n## 0.1.0 - 2026-12-01\n\n- A thing.\n", "0.1.1", _DAY)


def test_a_number_is_used_once():
    once = release_number.dated(_CHANGELOG, "0.1.0", _DAY)
    more = once.replace("## Unreleased\n", "## Unreleased\n\n- More.\n")
    with pytest.raises(NotReleasable, match=r"a section 0\.1\.0 already"):
        release_number.dated(more, "0.1.0", _DAY)


def test_a_release_after_its_candidate_has_a_section_of_its_own():
    once = release_number.dated(_CHANGELOG, "0.1.0rc1", _DAY)
    more = once.replace("## Unreleased\n", "## Unreleased\n\n- More.\n")
    assert "## 0.1.0 - 2026-12-01\n\n- More.\n\n## 0.1.0rc1 - " in release_number.dated(more, "0.1.0", _DAY)


@pytest.mark.parametrize(
    ("number", "present", "released"),
    [
        ("0.1.0", "0.1.0", []),
        ("0.1.1", "0.1.1.dev0", ["0.1.0"]),
        ("0.2.0rc1", "0.1.1.dev0", ["0.1.0"]),
        ("0.2.0", "0.2.0rc2.dev0", ["0.1.0", "0.2.0rc1"]),
        ("0.10.0", "0.9.1.dev0", ["0.9.0"]),
    ],
)
def test_numbers_that_may_be_next(number, present, released):
    release_number.checked(number, present, released)


@pytest.mark.parametrize(
    ("number", "present", "released", "reason"),
    [
        *[(each, "0.1.0", [], "is no version") for each in ("v0.1.0", "0.1", "0.1.0-rc1", "", "0.1.0; rm", "0.01.0")],
        ("0.1.0", "0.1.1.dev0", ["0.1.0"], "is released already"),
        ("0.1.1", "0.2.0rc2.dev0", ["0.1.0", "0.2.0rc1"], r"0\.1\.1 is not greater than 0\.2\.0rc1"),
        ("0.9.1", "0.9.1.dev0", ["0.9.0", "0.10.0"], r"not greater than 0\.10\.0"),
        ("0.0.9", "0.1.0", [], r"not greater than 0\.1\.0, which the tree has"),
    ],
)
def test_numbers_that_may_not(number, present, released, reason):
    with pytest.raises(NotReleasable, match=reason):
        release_number.checked(number, present, released)


@pytest.mark.parametrize(("number", "following"), [("0.1.0", "0.1.1.dev0"), ("0.2.0rc1", "0.2.0rc2.dev0")])
def test_development_goes_on_with_the_least_that_can_come(number, following):
    assert release_number.after(number) == following
    assert Version(number) < Version(following)


@pytest.mark.parametrize(
    ("number", "range_"),
    [
        ("0.1.0", ">=0.1,<0.2"),
        ("0.1.1.dev0", ">=0.1,<0.2"),
        ("0.2.0rc1", ">=0.2.0rc1,<0.3"),
        ("1.4.2", ">=1.4,<2"),
    ],
)
def test_a_backend_depends_on_the_series(number, range_):
    assert release_number.series(number) == range_


@pytest.mark.parametrize(
    ("number", "there"),
    [("0.1.0", "0.1.0"), ("0.1.1.dev0", "0.1.1~dev0"), ("0.2.0rc1", "0.2.0~rc1"), ("0.2.0rc2.dev0", "0.2.0~rc2~dev0")],
)
def test_debian_sorts_what_comes_before_a_release_before_it(number, there):
    assert release_number.debian(number) == there


def test_all_that_states_the_version_states_the_present_one():
    followed = release_number.followed(release_number.version())
    assert [str(path) for path, text in followed.items() if path.read_text() != text] == []


def test_another_version_is_taken_over_everywhere(tmp_path):
    for each in release_number.FOLLOWERS:
        (tmp_path / each.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release_number.ROOT / each.file, tmp_path / each.file)
    for path, text in release_number.followed("0.3.0rc1", tmp_path).items():
        path.write_text(text)
    assert release_number.version(tmp_path) == "0.3.0rc1"
    text = "".join(path.read_text() for path in tmp_path.rglob("*.toml"))
    stated = set(re.findall(r'"(pelagos-(?:core|native)[=<>][^"]*)"', text))
    assert stated == {"pelagos-native==0.3.0rc1", "pelagos-core>=0.3.0rc1,<0.4"}
    assert release_number.version() not in (tmp_path / "docs/nodes.md").read_text()


def test_a_place_that_is_gone_is_reported(tmp_path):
    for each in release_number.FOLLOWERS:
        (tmp_path / each.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each.file).write_text("nothing\n")
    with pytest.raises(NotReleasable, match="correct the list in"):
        release_number.followed("0.3.0", tmp_path)


def test_no_other_file_states_a_range_of_the_core():
    """A document or a manifest that is not in the list would go on naming an old series."""
    listed = {each.file for each in release_number.FOLLOWERS}
    root = release_number.ROOT
    pages = [
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("examples/**/*"),
        *root.glob("*/pyproject.toml"),
    ]
    stating = [
        str(path.relative_to(root))
        for path in pages
        if path.is_file() and re.search(r"pelagos-(core|native)[=<>]=?\d", path.read_text(errors="replace"))
    ]
    assert set(stating) <= listed
