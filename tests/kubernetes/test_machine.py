"""The machine that a node is: what it does stays in it, and it leaves nothing."""

from pathlib import Path

from tests.kubernetes.machine import machine
from tests.support.containerd import until


def settings():
    """What a kubelet would change of this host's kernel, and what a network plugin would."""
    names = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
    return {name: Path("/proc/sys", name).read_text() for name in names}


def test_what_is_done_in_a_machine_is_not_done_to_the_host(tmp_path):
    before = settings(), set(Path("/etc").iterdir())
    with machine(tmp_path / "m", []) as found:
        found.boot()
        assert len(found.traces()) > 1
        found.run("sh", "-c", "echo 1 > /proc/sys/vm/overcommit_memory; touch /etc/made /usr/local/bin/made /run/made")
        found.run("mount", "-t", "tmpfs", "tmpfs", "/opt")
        sleeper = found.start("sleeper", "sh", "-c", "sleep 1000 & wait")
        until(lambda: sleeper.pid, 10)
        assert (settings(), set(Path("/etc").iterdir())) == before
        assert " /opt " not in Path("/proc/self/mountinfo").read_text()
        assert not Path("/run/made").exists()
    assert not (tmp_path / "m").exists()
    assert sleeper.ended()
    assert settings() == before[0]


def test_a_reboot_ends_all_processes_and_keeps_the_disk(tmp_path):
    with machine(tmp_path / "m", []) as found:
        found.boot()
        first = found.run("cat", "/proc/sys/kernel/random/boot_id").stdout
        found.write("/var/lib/kept", "kept")
        found.write("/run/lost", "lost")
        found.start("sleeper", "sleep", "1000")
        found.shutdown()
        assert not found.traces()
        found.boot()
        assert found.run("cat", "/proc/sys/kernel/random/boot_id").stdout != first
        assert found.run("cat", "/var/lib/kept").stdout == "kept"
        assert found.run("ls", "/run/lost", check=False).returncode != 0
        assert found.run("sh", "-c", "ps -e -o comm= | grep -c sleep", check=False).stdout == "0\n"


def test_an_orphan_is_reaped(tmp_path):
    with machine(tmp_path / "m", []) as found:
        found.boot()
        found.run("sh", "-c", "(sleep 0.1 &)")
        until(lambda: "sleep" not in found.run("ps", "-e", "-o", "comm=").stdout, 10)
