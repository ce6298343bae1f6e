"""`pelagos doctor`, on nodes that are well and on nodes that are not."""

import json
import os
import platform
import re
import signal
import subprocess
import sys

import pytest

from pelagos_core.cgroups.hierarchies import Hierarchy
from pelagos_core.cli import containerd
from pelagos_core.cli.doctor import CHECKS
from pelagos_core.daemon import runs
from pelagos_core.errors import PelagosError
from pelagos_core.native.process_name import set_name
from tests.support.absent import ABSENT
from tests.support.containerd import Containerd, until

pytestmark = pytest.mark.container


def doctor(*words, **environment):
    command = [sys.executable, "-m", "pelagos_core", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def findings(*words, **environment):
    done = doctor("--json", *words, **environment)
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)}


def test_a_node_that_is_well_runs_a_container():
    code, found = findings()
    assert code == 0
    assert list(found) == list(CHECKS)
    assert found["a container"]["state"] == "ok", found
    assert "Wasmtime" in found["backends"]["found"]
    assert found["control groups"]["found"].rpartition(", ")[2] in ("driver cgroupfs", "driver systemd or cgroupfs")
    assert found["python"]["found"].startswith(platform.python_version())


def test_the_table_names_every_check_and_the_remedies_are_on_stderr():
    done = doctor(PATH=ABSENT)
    for name in CHECKS:
        assert name in done.stdout
    assert "pelagos: doctor: launchers: `pelagos install` writes them" in done.stderr


def test_a_config_that_is_wrong_is_named_and_fails(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("runtim = 'wasmtime'\n")
    code, found = findings(PELAGOS_CONFIG=str(path))
    assert code == 1
    assert found["config"]["state"] == "failed"
    assert "unknown key 'runtim'" in found["config"]["found"]


def test_a_cache_that_others_can_write_to_fails(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    code, found = findings(PELAGOS_CACHE_DIR=str(tmp_path / "cache"))
    assert (code, found["cache"]["state"]) == (1, "failed")


def test_installed_launchers_are_found_and_those_of_another_environment_told(tmp_path):
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", tmp_path], check=True
    )
    assert findings(PATH=path)[1]["launchers"]["state"] == "ok"
    (tmp_path / "containerd-shim-wasm-v1").write_text("#!/another/python\n")
    row = findings(PATH=path)[1]["launchers"]
    assert row["state"] == "warning"
    assert "of another environment" in row["found"]


@pytest.mark.parametrize(
    ("hierarchies", "state", "text"),
    [
        ((), "warning", "none is mounted"),
        ((Hierarchy(ABSENT, frozenset({"cpu", "memory"})),), "warning", "without pids"),
        ((Hierarchy("/", frozenset({"cpu", "memory", "pids"})),), "ok", "v1"),
    ],
)
def test_control_groups_that_lack_something_are_a_warning(monkeypatch, hierarchies, state, text):
    if os.geteuid():
        pytest.skip("to others than root no hierarchy is writable")
    monkeypatch.setattr("pelagos_core.cli.doctor.hierarchies", lambda: hierarchies)
    finding = CHECKS["control groups"]()
    assert finding.state == state
    assert text in finding.found


def test_an_old_kernel_fails(monkeypatch):
    monkeypatch.setattr("platform.release", lambda: "4.19.0-27-amd64")
    assert CHECKS["kernel"]().state == "FAILED"


def test_a_node_without_containerd_can_still_run(monkeypatch):
    monkeypatch.setattr("pelagos_core.cli.containerd.find", lambda: None)
    assert "`pelagos run` works without it" in CHECKS["containerd"]().remedy


def test_what_a_killed_run_has_left_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "places", lambda uid: [str(tmp_path / "runs")])
    directory, alive = runs.make(runs.usable_place(os.geteuid()), runs.new(("x.wasm",)))
    os.close(alive)
    found = CHECKS["left over"]()
    assert found.state == "warning"
    assert directory in found.found
    assert f"the next `pelagos run` removes {directory}" in found.remedy


def test_what_an_older_version_has_left_is_named_too(monkeypatch, tmp_path):
    (tmp_path / "run-0123abcd-x1y2").mkdir()
    (tmp_path / "run-mine").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    found = CHECKS["left over"]()
    assert f"{tmp_path}/run-0123abcd-x1y2" in found.remedy
    assert "run-mine" not in found.remedy


@pytest.mark.parametrize(("name", "count"), [("pelagos-shim", 1), ("containerd-shim", 0)])
@pytest.mark.parametrize("words", [["run-none0001"], ["other"], []])
def test_a_shim_is_distinguished_from_a_guest_with_its_words(name, count, words):
    """A guest's name is the end of its first word, and a shim's is not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        set_name(name, ["containerd-shim-wasm-v1", "-namespace", "pelagos", "-id", *words])
        os.write(writer, b"x")
        signal.pause()
    try:
        os.read(reader, 1)
        found = re.findall(r"\b[0-9]+\b", CHECKS["left over"]().found)
        assert found.count(str(pid)) == (count if words == ["run-none0001"] else 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def test_a_warning_is_a_fault_where_a_script_asks_for_it():
    assert doctor(PATH=ABSENT).returncode == 0
    assert doctor("--strict", PATH=ABSENT).returncode == 1


OLD = "io.containerd.grpc.v1.cri"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A containerd with its CRI, taken for the node's."""
    (tmp_path / "bin").mkdir(mode=0o755)
    daemon = Containerd(tmp_path / "bin", release="trixie", cri=f'[plugins."{OLD}".registry]\n  config_path = "/x"\n')
    monkeypatch.setattr(containerd, "find", lambda: containerd.of_process(str(daemon.process.pid)))
    monkeypatch.setattr(containerd.Containerd, "is_of_the_node", True)
    yield daemon
    daemon.close()


@pytest.mark.root
@pytest.mark.containerd
def test_what_a_containerd_has_registered_and_where_it_looks_is_reported(node, tmp_path):
    def installed(*words):
        config = node.directory / "config.toml"
        words = ["install", "--bin-dir", tmp_path / "bin", "--containerd-config", config, *words]
        subprocess.run([sys.executable, "-m", "pelagos_core", *words], check=True)

    assert "not on containerd's PATH" in CHECKS["launchers"]().found
    found = CHECKS["containerd"]()
    assert (found.state, found.found.partition(": ")[2]) == (
        "warning",
        f"{node.directory}/config.toml does not name the runtime",
    )
    assert "`pelagos install` registers it" in found.remedy
    installed()
    assert CHECKS["launchers"]().state == "ok"
    found = CHECKS["containerd"]()
    assert (found.state, "but started before" in found.found) == ("warning", True)
    node.restart()
    until(lambda: CHECKS["containerd"]().state == "ok")
    (tmp_path / "bin").chmod(0o777)
    with pytest.raises(PelagosError, match="can be written to by every user"):
        CHECKS["launchers"]()
