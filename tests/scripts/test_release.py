"""A release: its commits and its tag, what stops one, what every distribution carries."""

import re
import subprocess

import pytest

from scripts import release, release_number

_CHANGELOG = "# Changes\n\n## Unreleased\n\n### Added\n\n- A thing.\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with all that states the version, and nothing else."""
    for each in release_number.FOLLOWERS:
        (tmp_path / each.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each.file).write_text((release.ROOT / each.file).read_text())
    for path, text in release_number.followed("0.2.0.dev0", tmp_path).items():
        path.write_text(text)
    (tmp_path / "CHANGELOG.md").write_text(_CHANGELOG)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.invalid")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "Begin"]):
        git(tmp_path, *words)
    return tmp_path


def git(tree, *words):
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def test_a_release_is_a_commit_with_a_tag_and_development_goes_on(tree, capsys):
    assert release.main(["cut", "0.2.0"]) == 0
    assert git(tree, "log", "--format=%s").splitlines() == ["Go on as 0.2.1.dev0", "Release 0.2.0", "Begin"]
    assert git(tree, "describe", "HEAD~1").strip() == "v0.2.0"
    assert git(tree, "status", "--porcelain") == ""
    assert release_number.version(tree) == "0.2.1.dev0"
    git(tree, "checkout", "-q", "v0.2.0")
    assert release_number.version(tree) == "0.2.0"
    assert "/pelagos-installer:0.2.0\n" in (tree / "deploy/installer.yaml").read_text()
    assert re.search(r"## Unreleased\n\n## 0\.2\.0 - 20\d\d-\d\d-\d\d\n", (tree / "CHANGELOG.md").read_text())
    assert "git tag -d v0.2.0 && git reset --hard" in capsys.readouterr().out


def test_a_number_is_released_once(tree, capsys):
    assert release.main(["cut", "0.2.0"]) == 0
    assert release.main(["cut", "0.2.0"]) == 1
    assert "0.2.0 is released already: there is a tag v0.2.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "spoil", "reason"),
    [
        ("0.2", lambda tree: None, "is no version"),
        ("0.1.0", lambda tree: None, "not greater than 0.2.0.dev0"),
        ("0.2.0", lambda tree: (tree / "CHANGELOG.md").write_text(_CHANGELOG + "- More.\n"), "not committed"),
        ("0.2.0", lambda tree: (tree / "left.py").write_text(""), "not committed, or files that git does not know"),
        ("0.2.0", lambda tree: _changed(tree, "CHANGELOG.md", "- A thing.\n", ""), "no entry under"),
        ("0.2.0", lambda tree: _changed(tree, "docs/nodes.md", "_amd64.deb", ""), "docs/nodes.md has no"),
        ("0.2.0", lambda tree: _hook(tree, "exit 1"), "git commit"),
        ("0.2.0", lambda tree: _hook(tree, "! grep -q dev ./pelagos_core/__init__.py"), "git commit"),
    ],
)
def test_what_stops_a_release_leaves_the_tree_as_it_was(tree, capsys, number, spoil, reason):
    spoil(tree)
    before = git(tree, "log", "-1", "--format=%H"), git(tree, "status", "--porcelain"), release_number.version(tree)
    assert release.main(["cut", number]) == 1
    assert reason in capsys.readouterr().err
    assert git(tree, "tag", "--list") == ""
    after = git(tree, "log", "-1", "--format=%H"), git(tree, "status", "--porcelain"), release_number.version(tree)
    assert after == before


def _changed(tree, file, old, new):
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    git(tree, "commit", "-qam", "Change")


def _hook(tree, line):
    """A hook of the repository's owner, which may refuse a commit."""
    hook = tree / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\n{line}\n")
    hook.chmod(0o755)


def test_missing_interpreters_are_all_named_before_anything_is_built(monkeypatch, capsys):
    monkeypatch.setattr(release, "_candidates", lambda version: iter(["/bin/false"] if version != "3.11" else []))
    monkeypatch.setattr(release, "build", lambda: pytest.fail("it was built"))
    assert release.main(["check"]) == 1
    said = capsys.readouterr().err
    assert "not releasable: CPython 3.10, 3.11, 3.12, 3.13 not found" in said
    assert "PYTHONS=" in said


@pytest.mark.parametrize("directory", release.DISTRIBUTIONS, ids=lambda path: path.name)
def test_every_distribution_has_the_licence_its_types_and_the_one_version(directory):
    text = (directory / "pyproject.toml").read_text()
    assert (directory / "LICENSE").read_bytes() == (release.ROOT / "LICENSE").read_bytes()
    assert 'license-files = ["LICENSE"]' in text
    assert '"Typing :: Typed"' in text
    package = re.search(r'^packages = \["(\w+)"\]', text, re.MULTILINE)
    assert (directory / package[1] / "py.typed").exists()
    assert not re.search(r"^version = ", text, re.MULTILINE)
