"""The documentation's site: its links, and the pages that are made from the code."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from pelagos_core.cli.command_line import cli
from pelagos_core.plugin import claims, hookspecs
from scripts import reference, site


@pytest.mark.parametrize(
    ("source", "page", "text", "there"),
    [
        ("README.md", "readme.md", "[a](docs/errors.md#exit-codes)", "[a](errors.md#exit-codes)"),
        ("docs/tutorial/pod.md", "tutorial/pod.md", "[a](../nodes.md)", "[a](../nodes.md)"),
        ("docs/security.md", "security.md", "[a](../SECURITY.md)", "[a](security-reports.md)"),
        ("docs/security.md", "security.md", "[`a`](../native/README.md) and [b](#c)", "`a` and [b](#c)"),
        ("docs/security.md", "security.md", "![a](pictures/overview.svg)", "![a](pictures/overview.svg)"),
        ("docs/security.md", "security.md", "[a](https://example.com/b.md)", "[a](https://example.com/b.md)"),
    ],
)
def test_a_link_of_the_tree_is_one_of_the_site_or_plain_text(source, page, text, there):
    assert site.with_links_of_the_site(text, site.ROOT / source, site.PREPARED / page) == there


def test_every_command_and_option_has_its_place():
    text = reference.commands()
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command.hidden or f"\n## pelagos {name}\n" in text
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[0] in text


def test_every_hook_is_there_with_what_it_takes_and_returns():
    text = reference.hooks()
    hooks = [name for name in vars(hookspecs) if name.startswith("pelagos_")]
    assert len(hooks) >= 10
    for name in hooks:
        assert f"\n## {name}\n" in text
    assert "- `entrypoint`: what is to run" in text
    assert ":param" not in text
    assert ":return" not in text


def test_every_feature_has_a_row():
    text = reference.features()
    for word in (*claims.FEATURES, *claims.LIMITS):
        assert f"| `{word}` |" in text


def test_every_page_is_in_the_navigation():
    site.prepare()
    pages = {str(path.relative_to(site.PREPARED)) for path in site.PREPARED.rglob("*.md")}
    config = yaml.safe_load((site.ROOT / "mkdocs.yml").read_text())
    assert set(_paths(config["nav"])) == pages


def test_the_site_is_built_without_a_warning():
    done = subprocess.run([sys.executable, "-m", "scripts.site"], cwd=site.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = site.ROOT / "build/site"
    assert "pelagos run" in (built / "reference/commands.html").read_text()
    for page in built.rglob("*.html"):
        assert 'src="http' not in page.read_text(), f"{page.name} needs a network"


def _paths(nav):
    for entry in nav:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else _paths(target)


def test_a_page_of_the_top_names_a_file_that_is_there():
    assert all(Path(site.ROOT, name).exists() for name in site._OF_THE_TOP)
