"""The documentation's site: its links, and the pages that are made from the code."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from pelagos_core import reasons
from pelagos_core.cli import exit_codes
from pelagos_core.cli.command_line import cli
from pelagos_core.config import policy
from pelagos_core.metrics import families
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
    assert "- `entrypoint`: " in text
    assert ":param" not in text
    assert ":return" not in text


def test_every_feature_has_a_row():
    text = reference.features()
    for word in (*claims.FEATURES, *claims.LIMITS):
        assert f"| `{word}` |" in text


def test_every_annotation_has_a_row():
    text = reference.annotations()
    for word in ("runtime", *policy.WORDS):
        assert f"| `io.pelagos.wasm.{word}` |" in text
    assert "| `io.kubernetes.cri.sandbox-id` |" in text


def test_every_name_of_a_failure_has_a_row_with_its_exit_code():
    text = reference.errors()
    for reason in reasons.ALL:
        assert f"| [{reason}](../errors.md#{reason.lower()}) | " in text
    assert re.search(r"PLG-ENTRYPOINT.* \| 126 or 127 \|", text)
    assert re.search(r"PLG-MOUNT.* \| 125 \|", text)
    assert "| 9 | FAILED_PRECONDITION | " in text
    for code in exit_codes.MEANINGS:
        assert f"| {code} | " in text


def test_every_metric_has_a_row_with_its_labels():
    text = reference.metrics()
    for family in (*families.FOUND, *families.COUNTED):
        assert f"| `{family.name}" in text
        assert all(value in text for name, values in family.labels for value in values if name != "reason")
    assert "| `pelagos_start_duration_seconds` | 0.001, " in text


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
        text = page.read_text()
        assert not re.search(r'(src|<link[^>]* href)="(https?:)?//', text), f"{page.name} needs a network"
        assert page.name == "404.html" or re.search(r'<meta name="description" content="[^"]{20,170}">', text), (
            page.name
        )
    assert 'data-label="' in (built / "security.html").read_text()
    index = (built / "search.js").read_text()
    assert "tutorial/pod.html" in index
    assert "postMessage" in index  # the worker's text


@pytest.fixture
def rebuilt():
    """After the test the site is as the tree has it: it is what a person opens."""
    yield
    site.prepare()
    assert site.build() == []


@pytest.mark.usefixtures("rebuilt")
def test_a_broken_page_is_named_with_its_line():
    site.prepare()
    page = site.PREPARED / "cache.md"
    lines = len((site.ROOT / "docs/cache.md").read_text().splitlines())
    broken = ("[a](nodes.md#none)", "[b](none.md)", "![c](pictures/none.svg)")
    page.write_text(page.read_text() + "\n" + "\n\n".join(broken[:2]) + "\n")
    faults = [*site.build()]
    page.write_text(page.read_text().replace("\n\n".join(broken[:2]), broken[2]))
    faults += site.build()
    assert faults == [
        f"docs/cache.md:{lines + 2}: anchor does not exist",
        f"docs/cache.md:{lines + 4}: page does not exist",
        "docs/cache.md:1: pictures/none.svg leads nowhere",  # only the prepared page has that line
    ]


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("# A\n\nOne `b` of [c](d.md).\n\nTwo.\n", "One b of c."),
        ("# A\n\n| a | b |\n|---|---|\n", ""),
        ("# A\n\n```sh\nx\n```\n\nOne.\n", "One."),
        (
            "# A\n\n" + "One is a sentence that has forty characters. " + "Two " * 60,
            "One is a sentence that has forty characters.",
        ),
    ],
)
def test_a_page_is_described_by_its_first_paragraph(text, described):
    assert site.description(text) == described


def _paths(nav):
    for entry in nav:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else _paths(target)


def test_a_page_of_the_top_names_a_file_that_is_there():
    assert all(Path(site.ROOT, name).exists() for name in site._OF_THE_TOP)
