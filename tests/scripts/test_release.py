"""A release: the changelog's sections, the version's one place, what every distribution carries."""

import datetime
import re
import subprocess

import pytest

from scripts import release

_DAY = datetime.date(2026, 12, 1)
_CHANGELOG = """# Changes

## Unreleased

### Added

- A thing.
"""


def test_what_is_unreleased_gets_the_number_and_the_day():
    assert release.dated(_CHANGELOG, "0.1.0", _DAY) == _CHANGELOG.replace(
        "## Unreleased\n", "## Unreleased\n\n## 0.1.0 - 2026-12-01\n"
    )


def test_a_second_release_needs_something_to_release():
    once = release.dated(_CHANGELOG, "0.1.0", _DAY)
    with pytest.raises(release.NotReleasable, match="nothing under"):
        release.dated(once, "0.1.1", _DAY)


def test_a_number_is_used_once():
    once = release.dated(_CHANGELOG, "0.1.0", _DAY)
    with pytest.raises(release.NotReleasable, match=r"a section 0\.1\.0 already"):
        release.dated(once.replace("## Unreleased\n", "## Unreleased\n\n- More.\n"), "0.1.0", _DAY)


@pytest.mark.parametrize("number", ["v0.1.0", "0.1", "0.1.0-rc1", "", "0.1.0; rm"])
def test_what_is_no_version_is_refused_before_anything_is_changed(number, capsys):
    before = release.VERSION_FILE.read_text()
    assert release.main(["cut", number]) == 1
    assert "is no version" in capsys.readouterr().err
    assert release.VERSION_FILE.read_text() == before


def test_a_release_is_one_commit_and_a_tag(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "VERSION_FILE", tmp_path / "version.py")
    monkeypatch.setattr(release, "CHANGELOG", tmp_path / "CHANGELOG.md")
    monkeypatch.setattr(release, "INSTALLER", tmp_path / "installer.yaml")
    monkeypatch.setattr(release, "_run", lambda *words: _git(tmp_path, *words))
    release.INSTALLER.write_text("image: registry.example/pelagos-installer:0.0.0\n")
    release.VERSION_FILE.write_text('"""Doc."""\n\n__version__ = "0.0.0"\n')
    release.CHANGELOG.write_text(_CHANGELOG)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "Begin"]):
        _git(tmp_path, "git", *words)
    release.cut("0.2.0")
    assert release.version() == "0.2.0"
    assert release.INSTALLER.read_text() == "image: registry.example/pelagos-installer:0.2.0\n"
    assert _git(tmp_path, "git", "log", "--format=%s").splitlines() == ["Release 0.2.0", "Begin"]
    assert _git(tmp_path, "git", "describe").strip() == "v0.2.0"
    with pytest.raises(release.NotReleasable, match=r"the tag v0\.2\.0 exists"):
        release.cut("0.2.0")


def test_changes_that_are_not_committed_stop_a_release(tmp_path, monkeypatch):
    monkeypatch.setattr(
        release, "_run", lambda *words: " M file\n" if words[1] == "status" else pytest.fail(str(words))
    )
    with pytest.raises(release.NotReleasable, match="not committed"):
        release.cut("0.2.0")


@pytest.mark.parametrize("directory", release.DISTRIBUTIONS, ids=lambda path: path.name)
def test_every_distribution_has_the_licence_its_types_and_the_one_version(directory):
    text = (directory / "pyproject.toml").read_text()
    assert (directory / "LICENSE").read_bytes() == (release.ROOT / "LICENSE").read_bytes()
    assert 'license-files = ["LICENSE"]' in text
    assert '"Typing :: Typed"' in text
    package = re.search(r'^packages = \["(\w+)"\]', text, re.MULTILINE)
    assert (directory / package[1] / "py.typed").exists()
    assert not re.search(r"^version = ", text, re.MULTILINE)


@pytest.mark.parametrize("directory", release.DISTRIBUTIONS[1:], ids=lambda path: path.name)
def test_distributions_ask_for_the_core_of_their_own_series(directory):
    major, minor, _ = release.version().split(".")
    ranges = re.findall(r'"pelagos-\w+>=([^,]*),<([^"]*)"', (directory / "pyproject.toml").read_text())
    for lowest, bound in ranges:
        assert lowest.startswith(f"{major}.{minor}.")
        assert bound == f"{major}.{int(minor) + 1}"


def _git(directory, *words):
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run([words[0], *identity, *words[1:]], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout


def test_the_installers_image_has_the_tag_of_the_version():
    text = release.INSTALLER.read_text()
    assert f"/pelagos-installer:{release.version()}\n" in text
