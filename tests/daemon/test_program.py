"""`start` with a zygote that is warm, absent, stale, dead, hung, or cannot be: a daemon comes of it all the same."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from pelagos_core.cgroups.hierarchies import hierarchies
from pelagos_core.conformance.environment import add_backend, environment_with
from pelagos_core.shim import load_lock
from pelagos_core.shim.unix_socket import is_served
from tests.support.containerd import until
from tests.support.shim import flags, holder, shim_command
from tests.support.traces import alive
from tests.support.zygote import end_zygotes, zygotes

pytestmark = [pytest.mark.root]

GOOD = (
    "from pelagos_core.plugin.hookspecs import hookimpl\n@hookimpl\ndef pelagos_spawn(bundle, entrypoint):\n    pass\n"
)


class Node:
    """A place for sockets and one for zygotes, and `start` in it."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.zygotes = f"{directory}/z"
        self.python = sys.executable
        self.daemons = []

    def start(self, group, *, enter=(), **environment):
        """Run `start`; the address and how long it took."""
        bundle = self.directory / f"{group}-{uuid.uuid4().hex[:6]}"
        bundle.mkdir()
        (bundle / "config.json").write_text(f'{{"annotations": {{"io.kubernetes.cri.sandbox-id": "{group}"}}}}')
        env = {"PELAGOS_SOCKET_DIR": f"{self.directory}/s", "PELAGOS_ZYGOTE": self.zygotes, **environment}
        before = time.monotonic()
        words = [*flags(self.directory, group), "start"]
        if enter:
            done = subprocess.run(
                [*enter, shutil.which("containerd-shim-wasm-v1", path=str(self.launchers())), *words],
                cwd=bundle,
                env={"PATH": os.environ["PATH"], **env},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            )
        else:
            done = shim_command(*words, cwd=bundle, env=env, python=self.python)
        assert (done.returncode, done.stderr) == (0, b"")
        path = done.stdout.decode().removeprefix("unix://")
        assert is_served(path)
        return path, time.monotonic() - before

    def launchers(self):
        """A directory with the program that containerd would execute."""
        directory = self.directory / "bin"
        if not directory.exists():
            directory.mkdir()
            subprocess.run(
                [sys.executable, "-m", "pelagos_core", "install", "--no-containerd", "--bin-dir", directory],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        return directory

    def daemon(self, path):
        """The process behind a socket, when no other process has it open."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError, OSError):  # it is handed on from one to the next
                pid = holder(path)
                if shown(pid).startswith("containerd-shim-wasm-v1 -namespace test"):
                    self.daemons.append(pid)
                    return pid
            time.sleep(0.01)
        raise AssertionError(f"no daemon at {path}")

    def warm(self):
        """Start a pod's shim the cold way; the zygote that it leaves."""
        self.daemon(self.start("first")[0])
        return self.zygote()

    def zygote(self):
        """The one zygote, as soon as there is one."""
        deadline = time.monotonic() + 20
        while not zygotes(self.zygotes):
            assert time.monotonic() < deadline, "no zygote"
            time.sleep(0.01)
        (pid,) = zygotes(self.zygotes)
        return pid

    def close(self):
        end_zygotes(self.zygotes)
        for path in self.directory.glob("s/*"):
            if is_served(str(path)):
                self.daemons.append(holder(str(path)))
        for pid in self.daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory)


@pytest.fixture
def node():
    made = Node(tempfile.mkdtemp(prefix="pelagos-"))
    yield made
    made.close()


def shown(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def status(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def until_ended(pid):
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)


def test_the_first_start_leaves_a_zygote_and_the_next_ones_are_its_forks(node):
    zygote = node.warm()
    assert (status(zygote, "Name"), status(zygote, "Threads")) == ("pelagos-zygote", "1")
    assert status(node.daemons[0], "PPid") == str(zygote)
    daemons = [node.daemon(node.start(f"pod{number}")[0]) for number in range(2)]
    for number, pid in enumerate(daemons):
        assert status(pid, "PPid") == str(zygote)
        assert (status(pid, "Name"), status(pid, "Threads")) == ("pelagos-shim", "1")
        assert f" -id pod{number} -address {node.directory}/containerd.sock -socket " in shown(pid)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert node.zygote() == zygote


def test_a_daemon_has_just_its_own_descriptors(node):
    zygote = node.warm()
    pid = node.daemon(node.start("pod")[0])
    # The daemon's: its listener, the nursery's socket, its mount table, the metrics, and the event loop's three.
    for process, others in ((zygote, 1), (pid, 7)):
        deadline = time.monotonic() + 10
        while [name == "/dev/null" for name in held(process)] != [True] * 3 + [False] * others:
            assert time.monotonic() < deadline, held(process)
            time.sleep(0.01)


def held(pid):
    """What a process has open; of a descriptor that is closed meanwhile nothing."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd).partition(":")[0])
    return sorted(found)


def test_a_daemon_outlives_the_zygote(node):
    zygote = node.warm()
    os.kill(zygote, signal.SIGKILL)
    until_ended(zygote)
    assert alive(node.daemons[0])
    path, _ = node.start("pod")
    assert node.daemon(path)
    assert node.zygote() != zygote
    assert node.start("first")[0] != path


def test_what_is_installed_meanwhile_is_there_for_the_next_pod(node):
    node.python = environment_with(node.directory / "venv", t_a=GOOD)
    zygote = node.warm()
    site = next((node.directory / "venv/lib").glob("python*/site-packages"))
    add_backend(site, "t_b", GOOD)
    pid = node.daemon(node.start("pod")[0])
    until_ended(zygote)
    assert node.zygote() != zygote
    assert status(pid, "PPid") == str(node.zygote())


@pytest.mark.slow
def test_one_that_hangs_is_replaced_and_makes_no_second_daemon(node):
    zygote = node.warm()
    os.kill(zygote, signal.SIGSTOP)
    path, seconds = node.start("pod")
    assert 1 <= seconds < 5
    pid = node.daemon(path)
    deadline = time.monotonic() + 20
    while zygotes(node.zygotes) == [zygote]:
        assert time.monotonic() < deadline, "it was not replaced"
        time.sleep(0.01)
    assert node.daemon(node.start("other")[0])
    os.kill(zygote, signal.SIGCONT)
    until_ended(zygote)
    assert node.daemon(path) == pid
    assert node.zygote() != zygote


@pytest.mark.slow
def test_where_it_cannot_be_the_pod_is_all_the_same(node):
    full = node.directory / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "none", full], check=True)
    try:
        (full / "z").touch()
        for zygotes_directory in (str(full), "/proc/none", "/dev/null/z"):
            path, _ = node.start(f"pod{len(node.daemons)}", PELAGOS_ZYGOTE=zygotes_directory)
            assert node.daemon(path)
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.slow
def test_where_it_is_not_wanted_there_is_none(node):
    config = node.directory / "config.toml"
    config.write_text("zygote_idle_seconds = 0\n")
    for number, setting in enumerate(({"PELAGOS_ZYGOTE": "off"}, {"PELAGOS_CONFIG": str(config)})):
        pid = node.daemon(node.start(f"pod{number}", **setting)[0])
        assert status(pid, "PPid") == "1" or status(int(status(pid, "PPid")), "Name") != "pelagos-zygote"
    assert zygotes(node.zygotes) == []


@pytest.mark.parametrize("groups", [["one"] * 4, ["one", "two", "three"]])
def test_racing_starts_make_one_daemon_for_each_pod_and_one_zygote(node, groups):
    paths, took = [""] * len(groups), [0.0] * len(groups)

    def start(index):
        paths[index], took[index] = node.start(groups[index])

    threads = [threading.Thread(target=start, args=(index,)) for index in range(len(groups))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == len(set(groups))
    daemons = {node.daemon(path) for path in set(paths)}
    assert len(daemons) == len(set(groups))
    zygote = node.zygote()
    # Just one of them has loaded everything; on a busy machine the others do not wait for it any longer.
    if max(took) < load_lock.SECONDS:
        assert {status(pid, "PPid") for pid in daemons} == {str(zygote)}
    assert not list(Path(node.zygotes).glob("*.lock"))


@pytest.mark.slow
@pytest.mark.parametrize("warm", [True, False])
def test_a_daemon_has_the_surroundings_of_its_start(node, warm):
    if warm:
        node.warm()
    name = f"pelagos-test-{uuid.uuid4().hex[:8]}"
    group = f"{hierarchies()[0].mount_point}/{name}"
    os.mkdir(group)
    try:
        inside = f"echo $$ > {group}/cgroup.procs; echo 300 > /proc/self/oom_score_adj; ulimit -n 500; umask 027; "
        path, _ = node.start("pod", enter=["sh", "-c", inside + 'exec "$0" "$@"'])
        pid = node.daemon(path)
        assert f":/{name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "301\n"
        assert status(pid, "Umask") == "0027"
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (500, 500)
        os.kill(pid, signal.SIGKILL)
        until_ended(pid)
        node.zygote()  # if it is this start's, it is in the group too
        end_zygotes(node.zygotes)
    finally:
        _remove(group)


def _remove(group):
    deadline = time.monotonic() + 10
    while True:
        try:
            os.rmdir(group)
        except OSError:
            assert time.monotonic() < deadline, Path(f"{group}/cgroup.procs").read_text()
            time.sleep(0.01)
        else:
            return


def test_a_killed_daemon_of_a_warm_pod_leaves_a_socket_without_a_listener(node):
    node.warm()
    path, _ = node.start("pod")
    pid = node.daemon(path)
    os.kill(pid, signal.SIGKILL)
    until_ended(pid)
    # The kernel ends the daemon's children a moment later: one of them may have been about to execute the nursery.
    until(lambda: not is_served(path))
    assert node.daemon(node.start("pod")[0]) != pid
