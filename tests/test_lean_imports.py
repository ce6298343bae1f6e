"""What `start` and `delete` import: they are on the critical path of every container.

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
    env = {"PELAGOS_SOCKET_DIR": "/tmp/pelagos-lean", "PELAGOS_ZYGOTE": str(tmp_path)}
    loaded, done = modules(code, *words, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    bare, _ = modules(BARE)
    ours = {name for name in loaded if name.startswith("pelagos_core")}
    rooms = {name.split(".")[1] for name in ours if "." in name}
    assert rooms <= {"shim", "errors"}
    assert {name for name in ours if "zygote" in name} == set() or action == "start"
    assert loaded - bare - ours <= LEAN
