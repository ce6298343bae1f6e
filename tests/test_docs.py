"""The documents say what is so: every table is the code's, every link leads somewhere."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.report import Report
from pelagos_core.api import task_pb2 as api
from pelagos_core.config import node_file, policy
from pelagos_core.rootfs.mount_options import OPTION_WORDS
from tests.support import lifecycle_table, metrics_table

ROOT = Path(__file__).parent.parent


def relative(path):
    return str(path.relative_to(ROOT))


def test_the_life_cycle_in_the_documents_is_the_table():
    assert "\n".join(lifecycle_table.lines()) in (ROOT / "docs/architecture.md").read_text()


def test_every_metric_in_the_documents_is_one_that_is_counted():
    assert "\n".join(metrics_table.lines()) in (ROOT / "docs/observability.md").read_text()


def test_every_mount_option_is_in_the_documents_and_no_other():
    text = (ROOT / "docs/oci-runtime-spec.md").read_text().partition("## Mounts")[2].partition("## Without root")[0]
    words = {word for word in re.findall(r"`([a-z]+)`", text) if word not in ("uidMappings", "cgroup")}
    plain = {word for word in OPTION_WORDS if word[1:] not in OPTION_WORDS}
    opposites = {"async", "nomand", "loud", "noacl", "noiversion", "nolazytime"}
    refused = {"loop", "remount", "nofail", "auto", "noauto", "user", "users", "owner"}
    assert plain - opposites <= words
    assert words <= OPTION_WORDS | refused


def test_every_test_that_the_documents_name_is_there():
    """A promise about security is worth what its test is."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text()))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = sorted(name for name in named if not re.search(rf"def {name}\(", sources))
    assert len(named) > 30
    assert not missing


def test_the_figures_in_the_documents_are_those_of_the_run_beside_them():
    report = Report.load(ROOT / "docs/performance.json")
    assert tables.markdown(report) in (ROOT / "docs/performance.md").read_text()


def test_every_call_of_the_task_api_is_in_its_table():
    rows = re.findall(r"^\| ([A-Z][^|]*?) \|", (ROOT / "docs/task-api.md").read_text(), re.MULTILINE)
    told = {word for row in rows for word in re.split(r"\W+", row)}
    assert {method.name for method in api.DESCRIPTOR.services_by_name["Task"].methods} <= told


def layers():
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^layers = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"[a-z_]+", block)


def test_the_map_of_the_source_has_every_package_in_the_order_of_the_layers():
    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("| package | what is in it |") :].split("\n\n")[0]
    packages = [name for name in layers() if (ROOT / "pelagos_core" / name).is_dir()]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == packages
    assert set(packages) == {path.parent.name for path in (ROOT / "pelagos_core").glob("*/__init__.py")}


def test_a_module_that_a_page_names_is_there():
    for page in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)+\.py)`", page.read_text()):
            assert any((top / name).is_file() for top in (ROOT, ROOT / "pelagos_core")), f"{page.name}: {name}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "RELEASING.md"])
def test_every_verb_of_make_in_the_documents_is_there(page):
    verbs = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= verbs


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=relative)
def test_every_link_in_the_documents_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or file.suffix != ".md" or anchor in anchors(file.read_text()), target


def anchors(text):
    """The fragments by which headings are linked, as GitHub and the site make them; and explicit ones."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)).lower() for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def test_the_rooms_that_contributors_are_shown_are_there():
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w/*]+)`", row)]
    assert len(named) > 15
    for name in named:
        assert list(ROOT.glob(name)) or (ROOT / "pelagos_core" / name).is_dir(), name


def test_every_key_of_the_config_is_in_its_page():
    text = (ROOT / "docs/configuration.md").read_text()
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([a-z_.-]+)(?:\.NAME)?`", rows))
    keys = node_file.KEYS - {"wasm", "cache", "traces"} | {f"wasm.{word}" for word in policy.WORDS}
    tables = {"cache": node_file.CacheSettings, "traces": node_file.TraceSettings}
    keys |= {f"{name}.{field.name}" for name, table in tables.items() for field in fields(table)}
    assert keys <= named


def test_every_word_of_the_policy_is_in_its_table():
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/limits.md").read_text(), re.MULTILINE)
    assert set(rows) == set(policy.WORDS)


def test_the_readme_is_read_in_three_minutes():
    assert len((ROOT / "README.md").read_text().split()) <= 700
