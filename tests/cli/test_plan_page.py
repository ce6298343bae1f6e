"""The plan for a person: every step, in groups, and nothing is run for it."""

import subprocess
import sys

import pytest

from pelagos_core.cli import plan_page
from pelagos_core.cli.mount_option import Mount
from pelagos_core.errors import InvalidArgument

CONFIG = {
    "ociVersion": "1.1.0",
    "process": {"args": ["/app.wasm#f"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "network")]},
}
USER = {
    **CONFIG,
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "user")],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}],
    },
}


def page(config=CONFIG, rootfs=()):
    """The lines below each process, and below each of its phases."""
    found = {}
    for line in plan_page.lines(config, rootfs):
        if not line.startswith(" "):
            process = found.setdefault(line, {})
        elif not line.startswith("    "):
            phase = process.setdefault(line.strip(), [])
        else:
            phase.append(line.strip())
    return found


def test_steps_are_grouped_by_process_and_phase():
    container, compiler = page().values()
    assert list(container) == [
        "begin",
        "assemble",
        "if wasm: complete",
        "if wasm: seal",
        "if wasm by a program: engine root",
        "if wasm by a program: seal",
        "if wasm by a program: loaded",
        "if native: complete",
        "if native: seal",
        "start",
    ]
    assert container["if wasm by a program: loaded"] == [
        "remove the program's files before /app.wasm is opened [from engine root]"
    ]
    assert list(compiler) == ["isolate", "isolate, if a program compiles"]


def test_the_two_processes_of_a_user_namespace_are_apart():
    first, second, _ = page(USER).values()
    assert list(first) == ["begin", "outside", "second stage"]
    assert next(iter(second)) == "assemble"


def test_arguments_are_shown():
    lines = "\n".join(plan_page.lines(CONFIG, (Mount("/", "bind", "/image", ("rbind", "ro")),)))
    assert "root file system of 1 mounts (bind /image on /: rbind, ro) [to root]" in lines


def test_what_create_would_refuse_is_refused():
    with pytest.raises(InvalidArgument, match="hostname"):
        list(plan_page.lines({**CONFIG, "hostname": "box"}, ()))


def test_the_command_shows_it_and_runs_nothing(tmp_path):
    (tmp_path / "x.wasm").write_bytes(b"no module")
    words = ["run", "--explain-plan", "-it", "-v", f"{tmp_path}:/data:ro", str(tmp_path / "x.wasm")]
    done = subprocess.run([sys.executable, "-m", "pelagos_core", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"mount {tmp_path} on /data (rbind, ro) [from root; to device mounts]" in done.stdout
    assert "    take the controlling terminal [from stdout]" in done.stdout
