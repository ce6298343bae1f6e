"""Each block of the documents is run by a test; here are those that need nothing but a parser."""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml

from pelagos_core.backends import annotations
from pelagos_core.cli.command_line import cli
from pelagos_core.config import node_file
from pelagos_core.config.policy import Policy
from pelagos_core.metrics import families
from tests.support import pages
from tests.support.page_runs import RUNS, NotRun

ROOT = Path(__file__).parent.parent
KUBERNETES = "1.34"


def place(block):
    return block.place


def test_every_block_of_the_documents_is_run_by_a_test():
    unknown = [
        f"{block.place}: {pages.keys_of(block) or 'no key'} in tests/support/page_runs.py, which says what runs a block"
        for block in pages.all_blocks()
        if pages.how(block) is None
    ]
    assert not unknown, "\n".join(unknown)


def test_every_key_of_the_table_means_a_block():
    for page, keys in RUNS.items():
        used = {key for block in pages.blocks(page) for key in pages.keys_of(block)}
        assert set(keys) == used, f"{page}: {sorted(set(keys) - used)}"


def test_every_test_of_the_table_takes_its_blocks_from_it():
    for test in {value for keys in RUNS.values() for value in keys.values() if isinstance(value, str)}:
        assert "given_to(__file__" in (ROOT / test).read_text(), test


def test_what_is_not_run_has_a_reason_and_what_runs_the_like_is_there():
    left = [value for keys in RUNS.values() for value in keys.values() if isinstance(value, NotRun)]
    for value in left:
        assert value.reason
        assert not value.instead or (ROOT / value.instead).exists(), value


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a\n\n```sh\nls\n```\n", [3]),
        ("1. b\n\n   ```sh\n   ls\n   ```\n", [3]),
        ("a\n\n    ls\n", [3]),
        ("~~~\nls\n~~~\n", [1]),
        ("a `ls` b\n", []),
    ],
)
def test_a_block_of_any_form_is_found(tmp_path, monkeypatch, text, places):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "new.md").write_text(text)
    found = pages.blocks("new.md")
    assert [(block.line, pages.how(block)) for block in found] == [(line, None) for line in places]
    pages.blocks.cache_clear()


@pytest.mark.parametrize(
    ("shown", "printed", "differs"),
    [
        ("a\n", "a\n", False),
        ("a\n", "a\nb\n", True),
        ("a ... c\n", "a b c\n", False),
        ("...\nc\n", "a\nb\nc\n", False),
        ("...\nc\n", "c\n", False),
        ("...\nc\n", "d\n", True),
        (".*\n", "a\n", True),
    ],
)
def test_what_is_printed_is_compared_with_what_is_shown(shown, printed, differs):
    assert pages.differs(shown, printed) == differs


@pytest.mark.parametrize("block", pages.given_to(__file__), ids=place)
def test_a_block_that_needs_no_machine_is_right(block, tmp_path):
    checks = {"toml": check_config, "yaml": check_annotations, "ini": check_unit, "promql": check_queries}
    checks[block.language](block, tmp_path)


def check_config(block, directory):
    """It is a config file, or a part of one: each backend takes its settings."""
    node_file.parse(block.text.encode(), block.place)
    file = directory / "config.toml"
    file.write_text(block.text)
    words = [sys.executable, "-m", "pelagos_core", "backends", "--json"]
    done = subprocess.run(words, env={**os.environ, "PELAGOS_CONFIG": str(file)}, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["failures"]) == (0, []), done.stderr


def check_annotations(block, _):
    """They are those of a pod's metadata; an object is checked by what it is."""
    for found in yaml.safe_load_all(block.text):
        if "kind" in found:
            continue
        given = found["metadata"]["annotations"]
        for container in ("", "proxy"):
            annotations.narrowed(Policy(), annotations.opinions({}, given, container))


@pytest.mark.parametrize("block", [b for b in pages.all_blocks() if b.language == "yaml"], ids=place)
def test_an_object_of_kubernetes_is_valid(block):
    for found in yaml.safe_load_all(block.text):
        if "kind" in found:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
        else:
            assert found["metadata"]["annotations"]


def check_unit(block, _):
    """Units of systemd, of which the service calls a command that there is, where the pages install it."""
    for text in re.split(r"^# \S+\n", block.text, flags=re.MULTILINE)[1:]:
        unit = configparser.ConfigParser()
        unit.read_string(text)
        if "Service" in unit:
            program, *words = shlex.split(unit["Service"]["ExecStart"])
            assert program == "/opt/pelagos/bin/pelagos"
            parse(words)
        else:
            assert unit["Install"]["WantedBy"] == "timers.target"


def check_queries(block, _):
    """They are of figures that there are, with their labels."""
    suffixes = {families.COUNTER: ("_total",), families.HISTOGRAM: ("_bucket", "_sum", "_count")}
    known = {
        f"{family.name}{suffix}": {*family.label_names, "le"}
        for family in (*families.FOUND, *families.COUNTED)
        for suffix in suffixes.get(family.kind, ("",))
    }
    for query in block.text.splitlines():
        used = re.findall(r"\b(pelagos_\w+)(?:\{(\w+)=)?", query)
        assert used
        for name, label in used:
            assert name in known, query
            assert not label or label in known[name]
        for labels in re.findall(r"\bby \(([^)]*)\)", query):
            assert set(labels.split(", ")) <= set.union(*(known[name] for name, _ in used)), query


def parse(words, command=cli):
    """Parse the words of a `pelagos` command. Raises click.ClickException for what it does not have."""
    context = command.context_class(command, info_name=command.name, **command.context_settings)
    _, rest, _ = command.make_parser(context).parse_args(list(words))
    if isinstance(command, click.Group) and rest:
        _, found, rest = command.resolve_command(context, rest)
        parse(rest, found)


@pytest.mark.parametrize("words", ["nope", "run --nope x", "cache wram x", "cache prune --nope", "run --memory"])
def test_a_command_that_is_not_there_is_noticed(words):
    with pytest.raises(click.ClickException):
        parse(words.split())


def spoken():
    """Every `pelagos` command in the documents: in a block, or in a line of text."""
    for page in pages.pages():
        if page == "CHANGELOG.md":
            continue
        text = (ROOT / page).read_text()
        for block in pages.blocks(page):
            if block.language in ("sh", "console", "bash"):
                yield from ((command.place, command.text) for command in block.commands())
        plain = re.sub(
            r"^ *```.*?^ *```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
        for span in re.finditer(r"`([^`]+)`", plain):
            yield f"{page}:{plain.count(chr(10), 0, span.start()) + 1}", " ".join(span[1].split())


@pytest.mark.parametrize("page", pages.pages())
def test_a_command_of_pelagos_that_a_page_names_is_one(page):
    for found, text in spoken():
        match = re.match(r"(?:.*\| )?(?:\S*/)?pelagos ([a-z].*?)(?: \\?[|>].*| #.*|)$", text)
        if found.partition(":")[0] != page or not match or "…" in match[1]:
            continue
        try:
            parse(shlex.split(match[1]))
        except click.BadOptionUsage as error:  # text may name an option without its value, such as `pelagos run -p`
            assert "requires an argument" in error.format_message(), found
        except click.ClickException as error:
            pytest.fail(f"{found}: {text!r}: {error.format_message()}", pytrace=False)
