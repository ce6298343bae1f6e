"""`pelagos cache`: filled, listed and emptied by hand, for a person and for a machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from pelagos_core import __version__
from pelagos_core.cache.known_store import KnownModules
from pelagos_core.config.node_file import CacheSettings
from pelagos_core.conformance.environment import environment_with
from tests.cache.test_known_module import KEY, KNOWN
from tests.support import code, compiling

pytestmark = pytest.mark.container

HELLO = '(module (func (export "_start")))'


@pytest.fixture
def pelagos(tmp_path):
    """Runs `pelagos cache` with a cache of the test's own."""
    (tmp_path / "config.toml").write_text('[cache]\nsize = "1m"\n')
    env = {**os.environ, "PELAGOS_CACHE_DIR": str(tmp_path / "cache"), "PELAGOS_CONFIG": str(tmp_path / "config.toml")}

    def run(*words, python=sys.executable):
        command = [python, "-m", "pelagos_core", "cache", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    return run


def written(path, text=HELLO):
    path.write_text(text)
    return path


def paths(listed):
    return [entry["path"] for entry in json.loads(listed.stdout)["entries"]]


def test_the_compiler_is_confined_as_the_node_s_config_says(pelagos, tmp_path):
    python = environment_with(tmp_path / "venv", greedy=compiling.GREEDY)
    words = ("warm", "--backend", "greedy", written(tmp_path / "a.wat"))
    for text in ("", 'seccomp = "spec"\n[wasm]\nseccomp = "engine"\n'):
        (tmp_path / "config.toml").write_text(text)
        assert "Function not implemented" in pelagos(*words, python=python).stderr
    (tmp_path / "config.toml").write_text('seccomp = "spec"\n')
    done = pelagos(*words, python=python)
    assert done.returncode == 0, done.stderr


def test_a_module_is_compiled_ahead_and_listed(pelagos, tmp_path):
    assert pelagos("ls").stdout.split() == ["MODULE", "PATH", "BACKEND", "ENGINE", "SIZE", "USED"]
    module = written(tmp_path / "a.wat")
    first, second = pelagos("warm", module), pelagos("warm", module)
    assert first.returncode == second.returncode == 0
    assert first.stdout.startswith(f"{module}: compiled, wasmtime, ")
    assert second.stdout.startswith(f"{module}: found, wasmtime, ")
    row = pelagos("ls").stdout.splitlines()[1].split()
    assert row[1:4] == ["/a.wat", "wasmtime", metadata.version("pelagos-wasmtime")]
    listed = json.loads(pelagos("ls", "--json").stdout)
    assert listed["directory"] == str(tmp_path / "cache")
    (entry,) = listed["entries"]
    assert (entry["path"], entry["settings"]) == ("/a.wat", "")
    assert entry["key"] == code.entry(tmp_path / "cache").name
    assert entry["module"].startswith(row[0])


def test_a_limit_that_changes_the_code_is_another_entry(pelagos, tmp_path):
    module = written(tmp_path / "a.wat")
    pelagos("warm", module)
    (row,) = json.loads(pelagos("warm", "--fuel", "--backend", "wasmtime", "--json", module).stdout)
    assert (row["module"], row["outcome"]) == (str(module), "compiled")
    entries = json.loads(pelagos("ls", "--json").stdout)["entries"]
    assert sorted(entry["settings"] for entry in entries) == ["", "fuel"]


def test_what_cannot_be_compiled_is_named_and_the_rest_is_done(pelagos, tmp_path):
    good = written(tmp_path / "good.wat")
    bad = written(tmp_path / "bad.wat", '(module (func (export "_start") (i32.add)))')
    done = pelagos("warm", tmp_path / "none", bad, tmp_path, good)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: compiled")
    lines = done.stderr.splitlines()
    assert lines[0] == f"pelagos: cache warm: module '{tmp_path}/none': No such file or directory"
    assert lines[1].startswith("pelagos: cache warm: '/bad.wat' is not valid WebAssembly: ")
    assert lines[2] == f"pelagos: cache warm: module '{tmp_path}' is not a regular file"
    rows = json.loads(pelagos("warm", "--json", bad, good).stdout)
    assert sorted(rows[0]) == ["error", "module"]
    assert rows[1]["outcome"] == "found"


def test_what_cannot_run_is_not_compiled_and_a_library_is_for_its_functions(pelagos, tmp_path):
    library = written(tmp_path / "a.wat", '(module (func (export "_initialize")) (func (export "go")))')
    done = pelagos("warm", library)
    assert (done.returncode, "it is a library" in done.stderr) == (1, True)
    assert paths(pelagos("ls", "--json")) == []
    assert pelagos("warm", f"{library}#go").stdout.startswith(f"{library}#go: compiled, wasmtime, ")


def keep_known(path, **key):
    """Keep what is known of a module, under a key that fits what is installed."""
    text = (
        "import sys; from pelagos_core.backends.installed import load_waiting; print(load_waiting().backends.identity)"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()
    made = replace(KEY, **{"backends": found, "core": __version__, **key})
    KnownModules().keep(CacheSettings(str(path)), made, KNOWN)
    return made


def known(listed):
    return [(entry["module"], entry["function"]) for entry in json.loads(listed.stdout)["known"]]


def test_what_is_known_of_modules_is_listed_and_goes_with_the_rest(pelagos, tmp_path):
    keep_known(tmp_path / "cache", module="a" * 64, func="g\x1bo")
    keep_known(tmp_path / "cache", module="b" * 64)
    keep_known(tmp_path / "cache", module="c" * 64, backends="of another version")
    keep_known(tmp_path / "cache", module="d" * 64, core="0.0.1")
    lines = pelagos("ls").stdout.splitlines()
    assert (lines[1], lines[2].split()) == ("", ["MODULE", "FUNCTION", "KNOWN", "SIZE", "USED"])
    rows = sorted(line.split()[:6] for line in lines[3:])
    assert rows[0] == ["a" * 12, r"g\x1bo", "a", "90,", "b", "0"]
    assert rows[1][:2] == ["b" * 12, "-"]
    removed = sorted(pelagos("prune").stdout.splitlines()[:-1])
    assert removed == [f"removed {each * 12}, what is known of it" for each in "cd"]
    assert sorted(known(pelagos("ls", "--json"))) == [("a" * 64, "g\x1bo"), ("b" * 64, "")]
    os.utime(next((tmp_path / "cache/known").iterdir()), (1, 1))
    assert len(known(pelagos("prune", "--older-than", "30d", "--json"))) == 1
    removed = json.loads(pelagos("prune", "--all", "--json").stdout)
    assert (len(removed["known"]), removed["freed"] > 0) == (1, True)
    assert list((tmp_path / "cache/known").iterdir()) == []


PLAIN = """
from pelagos_core.plugin.hookspecs import Detection, hookimpl
@hookimpl
def pelagos_detect():
    return Detection.can(1, "anything")
@hookimpl
def pelagos_spawn():
    return lambda: 0
"""


@pytest.mark.slow
def test_an_engine_that_compiles_nothing_ahead_says_so(pelagos, tmp_path):
    python = environment_with(tmp_path / "venv", plain=PLAIN)
    done = pelagos("warm", "--backend", "plain", written(tmp_path / "a.wat"), python=python)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"pelagos: cache warm: module '{tmp_path}/a.wat': backend 'plain' compiles nothing ahead of time\n"
    )


def test_what_is_old_or_too_much_or_everything_goes(pelagos, tmp_path):
    for name in "abc":
        pelagos("warm", written(tmp_path / f"{name}.wat", f"{HELLO} ;; {name}"))
    for entry in (tmp_path / "cache").iterdir():
        if entry.is_dir() and "/b.wat" in (entry / "about").read_text():
            os.utime(entry / "seen", (1, 1))
    done = pelagos("prune", "--older-than", "30d")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[0::2] == ["removed", "'/b.wat'"]
    assert done.stdout.splitlines()[1].startswith("freed ")
    assert sorted(paths(pelagos("ls", "--json"))) == ["/a.wat", "/c.wat"]
    assert len(json.loads(pelagos("prune", "--size", "16k", "--json").stdout)["removed"]) == 1
    assert pelagos("prune").stdout == "freed 0 B\n"
    assert len(json.loads(pelagos("prune", "--all", "--json").stdout)["removed"]) == 1
    assert paths(pelagos("ls", "--json")) == []


def test_entries_that_cannot_be_used_here_are_removed_by_default(pelagos, tmp_path):
    pelagos("warm", written(tmp_path / "a.wat"))
    about = code.entry(tmp_path / "cache") / "about"
    about.chmod(0o600)
    about.write_text(about.read_text().replace("Wasmtime ", "Wasmtime 1."))
    assert "removed" in pelagos("prune").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune", "--older-than", "soon"], "--older-than: 'soon' is not a duration such as 30s, 1h30m or 30d"),
        (["prune", "--size", "much"], "--size: 'much' is not a size such as 64m (units: b, k, m, g, t)"),
    ],
)
def test_a_mistake_is_named(pelagos, words, message):
    done = pelagos(*words)
    assert (done.returncode, done.stderr.partition("; see")[0]) == (
        2,
        f"pelagos: cache prune: invalid value for {message}",
    )


def test_a_directory_that_is_not_to_be_trusted_is_named(pelagos, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o755)
    done = pelagos("ls")
    assert done.returncode == 1
    remedy = "chown root, chmod 700, or remove it"
    assert done.stderr == f"pelagos: cache ls: cache '{tmp_path}/cache' is not root's alone: {remedy}\n"
