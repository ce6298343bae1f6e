"""The documents say what is so: every table is the code's, every link leads somewhere."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.report import Report
from pelagos_core.api import task_pb2 as api
from pelagos_core.config import node_file, policy, size
from pelagos_core.daemon import program
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import claims
from pelagos_core.rootfs.mount_options import OPTION_WORDS
from scripts import engines
from tests.support import lifecycle_table, metrics_table, provision

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


def test_the_figures_of_the_start_page_are_of_that_run():
    report = Report.load(ROOT / "docs/performance.json")
    text = " ".join((ROOT / "docs/index.md").read_text().split())
    memory = report.value("memory", "each container, of 10", "pelagos", "memory (PSS)")
    time = report.value("throughput", "1 at a time", "pelagos", "CPU per task")
    assert f"costs {memory:.2g} MiB and {time:.2g} ms of processor time" in text
    rates = [report.value("throughput", "1 at a time", contender, "rate") for contender in ("pelagos", "runc")]
    assert "one shim runs {:.0f} tasks a second where runc's runs {:.0f}".format(*rates) in text


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


@pytest.mark.parametrize(
    ("key", "default", "accepted", "refused"),
    [
        ("runtime", "auto", ['"wasmedge"', '"auto"'], ["1"]),
        ("seccomp", "engine", ['"engine"', '"spec"', '"off"'], ['"none"']),
        ("zygote_idle_seconds", 600, ["0", "600"], ["-1", "1.5"]),
        ("metrics", True, ["false"], ["1"]),
        ("host_network", False, ["true"], ["1"]),
        ("traces.sampling", None, ["0", "1", "0.5"], ["1.1", "-0.1"]),
        ("traces.endpoint", None, ['"http://localhost:4318"'], ['"localhost:4318"']),
        ("cache.directory", "/var/cache/pelagos", ['"/srv/code"'], ['"code"']),
        ("cache.size", "4g", ['"0"', '"512m"'], ['"4x"', "4"]),
        ("cache.memory", "4g", ['"1k"'], ['"0"']),
        ("cache.seconds", 300, ["1", "86400"], ["0", "86401"]),
    ],
)
def test_a_key_of_the_config_has_the_default_and_the_range_of_its_page(key, default, accepted, refused):
    text = (ROOT / "docs/configuration.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| `{key}` |"))
    told = row.rstrip("| ").rpartition("| ")[2]
    assert default is None or told == f"`{str(default).lower() if isinstance(default, bool) else default}`"
    table, _, name = key.rpartition(".")
    head = f"[{table}]\n" if table else ""
    for value in accepted:
        node_file.parse(f"{head}{name} = {value}".encode(), "the page")
    for value in refused:
        with pytest.raises(InvalidArgument, match=name):
            node_file.parse(f"{head}{name} = {value}".encode(), "the page")
    for bound in re.findall(r"\d+", row.split("|")[2]):
        assert bound in accepted, "a bound of the page that no test tries"


def test_the_defaults_of_the_page_are_the_codes():
    config = node_file.Config()
    assert (config.cache.directory, config.cache.seconds) == ("/var/cache/pelagos", 300)
    assert config.cache.size == config.cache.memory == size.parse("4g")
    assert (config.metrics, config.policy.seccomp, config.policy.host_network) == (True, "engine", False)
    assert program.IDLE_SECONDS == 600


def test_every_file_and_variable_that_the_code_names_is_in_its_page():
    text = (ROOT / "docs/files.md").read_text()
    sources = [path for path in (ROOT / "pelagos_core").rglob("*.py") if "conformance" not in path.parts]
    code = "\n".join(path.read_text() for path in sources)
    variables = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', code)) | set(
        re.findall(r'"(PELAGOS_[A-Z_]+)"', code)
    )
    assert len(variables) > 10
    assert sorted(name for name in variables if f"`{name}`" not in text) == []
    paths = set(re.findall(r'^[A-Z_]+ = "((?:/run|/var|/etc)/[a-z/.]*pelagos[a-z/.]*)"', code, re.MULTILINE))
    assert len(paths) >= 7
    assert sorted(path for path in paths if f"`{path}`" not in text) == []


def test_every_word_of_the_policy_is_in_its_table():
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/limits.md").read_text(), re.MULTILINE)
    assert set(rows) == set(policy.WORDS)


def test_the_readme_is_read_in_three_minutes():
    assert len((ROOT / "README.md").read_text().split()) <= 700


def test_the_figures_of_the_comparison_are_of_that_run():
    report = Report.load(ROOT / "docs/performance.json")
    text = (ROOT / "docs/comparison.md").read_text()
    for words, key, unit in (
        ("tasks a second through one shim, one at a time", ("throughput", "1 at a time", "rate"), ""),
        ("a whole `ctr run --rm`", ("ctr", "ctr run --rm", "command p50"), " ms"),
        ("memory of each container, of 10", ("memory", "each container, of 10", "memory (PSS)"), " MiB"),
        ("memory of each further pod", ("memory", "each further pod", "memory (PSS)"), " MiB"),
        ("three pods at once after a reboot, until all run", ("reboot", "3 pods at once", "until all run"), " ms"),
    ):
        scenario, case, metric = key
        both = [f"{report.value(scenario, case, name, metric):.3g}{unit}" for name in ("pelagos", "runc")]
        assert f"| {words} | {' | '.join(both)} |" in text


def test_the_versions_in_the_documents_are_those_of_the_packages_and_the_tests():
    text = (ROOT / "docs/versions.md").read_text()
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert f"| CPython | {pythons[0]} and {pythons[-1]} " in text
    assert f"1.7, 2.1, {provision.BUILT} |" in text
    wasmtime = re.search(r'"wasmtime>=([\d.]+),<', (ROOT / "plugins/wasmtime_backend/pyproject.toml").read_text())[1]
    assert f"from {wasmtime} on" in text
    assert f"| {engines.WASMER_VERSION.rpartition('.')[0]} |" in text


def test_every_feature_that_a_backend_may_claim_is_in_the_documents():
    text = (
        (ROOT / "docs/writing-a-backend.md").read_text().partition("## What a backend claims")[2].partition("\n## ")[0]
    )
    assert set(claims.FEATURES) <= set(re.findall(r"`([a-z0-9.-]+)`", text))
