"""Backends come and go with pip, and one that crashes or hangs is found out in a child."""

import json
import os
import subprocess
import sys

import pytest

from pelagos_core.backends import installed
from pelagos_core.backends.registry import Backends
from pelagos_core.config import node_file
from pelagos_core.config.node_file import Config
from pelagos_core.conformance.environment import environment_with
from pelagos_core.errors import InvalidArgument
from tests.support import slow_import

CODE = """
import asyncio, json, os, sys
from pathlib import Path
from pelagos_core.backends import installed, registry
from pelagos_core.conformance.environment import add_backend
found = installed.load_waiting()
site = next(Path(sys.prefix).glob("lib/python*/site-packages"))
def names():
    asyncio.run(found.refresh())
    said = found.backends
    ours = lambda things: [thing for thing in things if thing.name.startswith("t_")]
    return [backend.name for backend in ours(said.installed)], [str(failure) for failure in ours(said.failures)]
"""
GOOD = "from pelagos_core.plugin.hookspecs import hookimpl\n@hookimpl\ndef pelagos_spawn(): pass\n"


def run(python, code):
    done = subprocess.run([python, "-c", CODE + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("crash", "how"),
    [
        ("import os; os._exit(3)", "the process exited with code 3"),
        ("import ctypes; ctypes.string_at(0)", "the process was killed by SIGSEGV"),
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


def test_all_that_is_loaded_stays_while_pelagos_is_replaced(tmp_path):
    """A DaemonSet's installer that ends takes the whole tree away, and the next one brings it back."""
    python = environment_with(tmp_path / "venv", t_a=GOOD)
    code = f"""
sys.path[:], kept = [], list(sys.path)
seen = [names()[0]]
sys.path[:] = kept
add_backend(site, "t_b", {GOOD!r})
seen.append(names()[0])
print(json.dumps(seen))
"""
    assert run(python, code) == [["t_a"], ["t_a", "t_b"]]


def test_a_daemon_goes_on_while_what_is_installed_meanwhile_loads(tmp_path):
    """The import waits for a file that only the event loop's other task writes."""
    python = environment_with(tmp_path / "venv", t_a=GOOD)
    begun, go = tmp_path / "begun", tmp_path / "go"
    code = f"""
add_backend(site, "t_b", {slow_import.source(begun, go) + GOOD!r})
async def look_and_go_on():
    async def go_on():
        while not os.path.exists({str(begun)!r}):
            await asyncio.sleep(0.01)
        Path({str(go)!r}).touch()
    await asyncio.gather(found.refresh(), go_on())
asyncio.run(look_and_go_on())
print(json.dumps(names()))
"""
    assert run(python, code) == [["t_a", "t_b"], []]


@pytest.mark.parametrize(
    ("hangs", "how"),
    [
        ("time.sleep(1000)", "import: TooSlow: no answer in 1 s"),
        ("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [14]); time.sleep(1000)", "import: no answer in 3 s"),
        ("pelagos_describe = hookimpl(lambda: time.sleep(1000))", "describe: TooSlow: no answer in 1 s"),
    ],
)
def test_what_hangs_in_a_child_is_named_and_never_touched_in_the_daemon(tmp_path, hangs, how):
    python = environment_with(tmp_path / "venv", t_a=GOOD)
    pids = tmp_path / "pids"
    source = (
        f"import os, time\nwith open({str(pids)!r}, 'a') as file:\n    print(os.getpid(), file=file)\n{GOOD}{hangs}\n"
    )
    code = f"""
registry.IMPORT_SECONDS = registry.DETECT_SECONDS = 1.0
installed._ANSWER_SECONDS = 3.0
add_backend(site, "t_b", {source!r})
add_backend(site, "t_c", {GOOD!r})
print(json.dumps([os.getpid(), *names()]))
"""
    daemon, installed, failures = run(python, code)
    assert installed == ["t_a", "t_c"]
    assert failures == [f"backend 't_b' failed in {how}"]
    assert str(daemon) not in pids.read_text().split()


def test_a_name_may_look_like_anything_and_be_refused(tmp_path):
    python = environment_with(tmp_path / "venv")
    code = f"""
add_backend(site, "/b", {GOOD!r}, "t-slash")
add_backend(site, "[", {GOOD!r}, "t-bracket")
add_backend(site, "t_c", {GOOD!r})
asyncio.run(found.refresh())
print(json.dumps([names(), sorted(failure.name for failure in found.backends.failures)]))
"""
    assert run(python, code) == [[["t_c"], []], ["/b", "["]]


def test_a_name_that_a_second_package_claims_meanwhile_is_refused_for_both(tmp_path):
    python = environment_with(tmp_path / "venv", t_a=GOOD, t_b=GOOD)
    code = f"""
seen = [names()[0]]
add_backend(site, "t_a", {GOOD!r}, "another-a")
seen.append(names())
import shutil
shutil.rmtree(site / "another_a-1.0.dist-info")
seen.append(names())
print(json.dumps(seen))
"""
    first, second, third = run(python, code)
    assert first == ["t_a", "t_b"]
    told = "2 packages claim the name, another-a 1.0 and backend-t_a 1.0: uninstall all except one"
    assert second == [["t_b"], [f"backend 't_a' failed in loading: {told}"]]
    assert third == [["t_a", "t_b"], []]


START = """
import threading, time
def start(count):
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
"""


@pytest.mark.parametrize(
    ("started", "number"),
    [("start(3)", "3 threads"), ("pelagos_describe = hookimpl(lambda: start(1))", "a thread")],
)
def test_a_backend_that_starts_threads_is_refused_and_its_process_does_not_go_on(tmp_path, started, number):
    source = f"{START}{GOOD}{started}\n"
    python = environment_with(tmp_path / "venv", t_a=GOOD, t_threads=source, t_z=GOOD)
    code = f"""
seen = [names()]
add_backend(site, "t_later", {source!r})
print(json.dumps([*seen, names(), len(os.listdir("/proc/self/task"))]))
"""
    first, second, tasks = run(python, code)
    why = f"failed in import: it starts {number} when it is imported"
    why += "; processes are forked, and threads are lost in a fork"
    assert first == [["t_a", "t_z"], [f"backend 't_threads' {why}"]]
    assert second == [["t_a", "t_z"], [f"backend 't_later' {why}", f"backend 't_threads' {why}"]]
    assert tasks == 1


def test_threads_that_have_ended_are_none(tmp_path):
    joined = f"{START}threads = [threading.Thread(target=int) for _ in range(20)]\n"
    joined += "for one in threads:\n    one.start()\n    one.join()\n"
    python = environment_with(tmp_path / "venv", t_joined=joined + GOOD)
    assert run(python, "print(json.dumps(names()))") == [["t_joined"], []]


def test_a_faulty_config_is_reported_when_it_is_used(tmp_path):
    (tmp_path / "config.toml").write_text("=")
    code = "try: found.config\nexcept Exception as error: print(json.dumps(str(error)))"
    environment = {**os.environ, "PELAGOS_CONFIG": str(tmp_path / "config.toml")}
    done = subprocess.run([sys.executable, "-c", CODE + code], capture_output=True, text=True, env=environment)
    assert "not TOML" in json.loads(done.stdout)


def test_the_config_is_parsed_after_a_change_alone(tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    monkeypatch.setenv("PELAGOS_CONFIG", str(file))
    node = installed.Node(Backends(()), {}, (), Config())
    parsed = []
    load = node_file.load_node
    monkeypatch.setattr(node_file, "load_node", lambda: parsed.append(1) or load())
    assert node.config is node.config
    file.write_text("=")
    for _ in range(2):
        with pytest.raises(InvalidArgument):
            _ = node.config
    file.write_text("[cache]\nseconds = 7\n")
    assert node.config.cache.seconds == node.config.cache.seconds == 7
    (tmp_path / "new").write_text("[cache]\nseconds = 8\n")
    os.utime(tmp_path / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    os.replace(tmp_path / "new", file)
    assert node.config.cache.seconds == 8
    file.unlink()
    assert node.config == load()
    assert len(parsed) == 6
