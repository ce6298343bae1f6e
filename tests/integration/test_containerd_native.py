"""Native programs with the specs that `ctr run` writes, on a real containerd of each release."""

import os

import pytest

pytestmark = [pytest.mark.root, pytest.mark.containerd]

NAME = "io.containerd.pelagos.wasm.v1"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """An image's files in which the host's programs can be mounted, and the flags that do so."""
    directory = tmp_path_factory.mktemp("system")
    directory.chmod(0o755)
    flags = []
    for name in ("bin", "sbin", "lib", "lib64", "usr"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), directory / name)
        elif os.path.isdir(f"/{name}"):
            flags += ["--mount", f"type=bind,src=/{name},dst=/{name},options=rbind:ro"]
    return directory, tuple(flags)


def run(containerd, system, container, script, *flags):
    directory, mounts = system
    return containerd.run(NAME, directory, container, "/bin/sh", "-c", script, flags=("--rm", *mounts, *flags))


def test_it_gets_what_runc_gives_it(containerd, system, container):
    script = """
    grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status
    ulimit -n; hostname > /dev/null; cat /proc/1/comm
    for m in /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /run; do grep -q " $m " /proc/mounts || echo no $m; done
    cat /proc/interrupts /proc/keys 2>/dev/null | wc -c; (echo 0 > /proc/sys/kernel/panic) 2>&1 | grep -o 'Read-only.*'
    """
    done = run(containerd, system, container, script)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.split()
    default = "00000000a80425fb"  # containerd's fourteen
    assert lines[:6] == ["CapEff:", default, "CapBnd:", default, "NoNewPrivs:", "1"]
    assert lines[6:8] == ["1024", "sh"]
    assert lines[-3:] == ["Read-only", "file", "system"]
    assert "no" not in lines


@pytest.mark.parametrize(
    ("flags", "script", "said"),
    [
        (("--user", "1000:2000"), "id -u; id -g", "1000\n2000\n"),
        (("--cwd", "/work", "--env", "A=b"), "pwd; echo $A", "/work\nb\n"),
        (("--read-only",), "touch /x 2>/dev/null || echo no", "no\n"),
        (("--privileged",), "test -w /proc/sys/kernel/panic && test -b /dev/vda -o -c /dev/kmsg && echo all", "all\n"),
        (("--rootfs-propagation", "rslave"), "echo ok", "ok\n"),
        (("--hostname", "box"), "cat /proc/sys/kernel/hostname", "box\n"),
        (("--net-host",), "ls /sys/class/net | grep -c . > /dev/null && echo ok", "ok\n"),
        (("--mount", "type=tmpfs,dst=/t,options=mode=700:size=64k"), "stat -c %a /t", "700\n"),
        (("--cap-drop", "CAP_KILL", "--cap-add", "CAP_SYS_TIME"), "grep -o 'CapEff.*' /proc/self/status", None),
    ],
)
def test_flags_of_ctr_do_what_they_say(containerd, system, container, flags, script, said):
    if f"{flags[0]} " not in containerd.ctr("run", "--help").stdout:
        assert flags[0] in ("--user", "--hostname")  # which came with 1.7
        return
    done = run(containerd, system, container, script, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    if said is not None:
        assert done.stdout == said
    else:
        assert int(done.stdout.split()[1], 16) == 0xA80425FB & ~(1 << 5) | 1 << 25


def test_a_program_that_is_not_there_is_reported_by_name(containerd, system, container):
    directory, mounts = system
    done = containerd.run(NAME, directory, container, "/no/such", flags=("--rm", *mounts))
    assert done.returncode == 1
    assert "entry point '/no/such': no such file or directory in the container" in done.stderr
