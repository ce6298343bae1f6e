"""Backends come and go with pip, and one that crashes is found out in a child."""

import json
import os
import subprocess
import sys

import pytest

from pelagos_core.conformance.environment import environment_with

CODE = """
import json, os, sys
from pelagos_core import node
found = node.load_waiting()
def names():
    found.refresh()
    said = found.backends
    ours = lambda things: [thing for thing in things if thing.name.startswith("t_")]
    return [backend.name for backend in ours(said.installed)], [str(failure) for failure in ours(said.failures)]
"""
GOOD = "from pelagos_core.hookspecs import hookimpl\n@hookimpl\ndef pelagos_spawn(): pass\n"


def run(python, code):
    done = subprocess.run([python, "-c", CODE + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("crash", "how"),
    [
        ("import os; os._exit(3)", "the process exited with code 3"),
        ("import os; os.kill(os.getpid(), 11)", "the process died of SIGSEGV"),
    ],
)
def test_a_backend_that_ends_its_process_is_named_and_the_others_are_loaded(tmp_path, crash, how):
    python = environment_with(tmp_path / "venv", t_crash=crash, t_good=GOOD)
    assert run(python, "print(json.dumps(names()))") == [
        ["t_good"],
        [f"backend 't_crash' failed in import: {how}"],
    ]


def test_what_is_installed_and_removed_meanwhile_counts(tmp_path):
    python = environment_with(tmp_path / "venv", t_a=GOOD)
    code = f"""
seen = [names()[0]]
from pathlib import Path
from pelagos_core.conformance.environment import add_backend
site = next(Path({str(tmp_path / "venv/lib")!r}).glob("python*/site-packages"))
add_backend(site, "t_b", {GOOD!r})
add_backend(site, "t_c", "import os; os._exit(1)")
seen.append(names())
import shutil
shutil.rmtree(site / "backend_t_a-1.0.dist-info")
seen.append(names()[0])
print(json.dumps(seen))
"""
    first, second, third = run(python, code)
    assert first == ["t_a"]
    assert second == [["t_a", "t_b"], ["backend 't_c' failed in import: the process exited with code 1"]]
    assert third == ["t_b"]


def test_a_faulty_config_is_told_when_it_is_used(tmp_path):
    (tmp_path / "config.toml").write_text("=")
    code = "try: found.config\nexcept Exception as error: print(json.dumps(str(error)))"
    environment = {**os.environ, "PELAGOS_CONFIG": str(tmp_path / "config.toml")}
    done = subprocess.run([sys.executable, "-c", CODE + code], capture_output=True, text=True, env=environment)
    assert "not TOML" in json.loads(done.stdout)
