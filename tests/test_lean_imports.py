"""What is imported where it counts: by `start` and `delete`, which every container waits for, and by `pelagos run`.

The prices are in milliseconds, not microseconds: `json` 7, `typing` 10, `asyncio` 42.
"""

import subprocess
import sys

import pytest

from pelagos_core.cli import launcher

# The interpreter's own, of every version that is supported.
BARE = "import os, sys; print(*sys.modules)"
LEAN = {"errno", "fcntl", "_socket", "_sha2", "_sha256", "time", "_signal"}


def modules(code, *words, cwd=None, env=None):
    done = subprocess.run([sys.executable, launcher.FLAGS, "-c", code, *words], cwd=cwd, env=env, capture_output=True)
    return set(done.stdout.splitlines()[-1].decode().split()), done


# As containerd writes it for a container of a pod, and for one without.
CONFIGS = {
    "a pod's": b'{"process":{"args":["/a"]},"annotations":{"io.kubernetes.cri.sandbox-id":"c1","o":"\\"x\\""}}',
    "alone": b'{"process":{"args":["/a"]}}',
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("action", ["start", "delete", "-v"])
def test_an_action_imports_its_own_room_and_no_more(tmp_path, action, config):
    (tmp_path / "config.json").write_bytes(CONFIGS[config])
    # The daemon that `start` would leave behind is not what is looked at here: it is not started.
    quiet = "import pelagos_core.shim.start as s; s._spawn = lambda *a: None;" if action == "start" else ""
    body = launcher.body().replace("from pelagos_core.shim.main import main\nmain()\n", "")
    code = (
        f"{body}\n{quiet}import os, sys\n"
        "os._exit = lambda code: None\n"
        "from pelagos_core.shim.main import main\n"
        "main()\n"
        "print()\nprint(*sys.modules)\n"
    )
    words = ["-namespace", "n", "-id", "c1", "-address", "/c.sock", action] if action != "-v" else ["-v"]
    # The zygote's directory does not exist: it is looked for, which is the longer way.
    env = {"PELAGOS_SOCKET_DIR": str(tmp_path / "s"), "PELAGOS_ZYGOTE": str(tmp_path)}
    loaded, done = modules(code, *words, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    bare, _ = modules(BARE)
    ours = {name for name in loaded if name.startswith("pelagos_core")}
    rooms = {name.split(".")[1] for name in ours if "." in name}
    assert rooms <= {"shim", "errors"}
    assert {name for name in ours if "zygote" in name} == set() or action == "start"
    assert loaded - bare - ours <= LEAN


# (module (func (export "_start")))
EMPTY = bytes.fromhex("0061736d01000000 010401600000 03020100 070a01065f73746172740000 0a040102000b")

# Modules of ours, and packages that are large, that `pelagos run` has no need of. Before they were looked at it
# imported 250 modules more than it does now, which was two thirds of its time.
NOT_FOR_RUN = {
    "pelagos_core.backends",
    "pelagos_core.cgroups",
    "pelagos_core.isolation",
    "pelagos_core.launch",
    "pelagos_core.linux",
    "pelagos_core.native",
    "pelagos_core.oci",
    "pelagos_core.plugin.bundle",
    "pelagos_core.plugin.entrypoint",
    "pelagos_core.rootfs",
    "pelagos_core.zygote",
    "asyncio",
    "concurrent",
    "ctypes",
    "dataclasses",
    "difflib",
    "logging",
    "pathlib",
    "pluggy",
    "random",
    "shutil",
    "socket",
    "ssl",
    "tempfile",
    "tomli",
    "tomllib",
}


@pytest.mark.root  # of other users the command makes a user namespace, which is more to import
def test_a_run_imports_what_it_does_itself_and_no_more(tmp_path):
    (tmp_path / "empty.wasm").write_bytes(EMPTY)
    code = (
        "import os, sys\n"
        "end, before = os._exit, set(sys.modules)\n"  # a measurement of coverage imports much itself
        "os._exit = lambda code: (print(*(set(sys.modules) - before), flush=True), end(code))\n"
        "from pelagos_core.cli.main import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "run", str(tmp_path / "empty.wasm")]
    done = subprocess.run(command, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "pelagos_core.cli.embedded" in loaded, done.stderr
    assert not {name for name in loaded if NOT_FOR_RUN & {name, ".".join(name.split(".")[:2])}}
