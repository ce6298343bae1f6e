"""The wrappers: what they return, and how they report a failure."""

import errno
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from pelagos_core.linux import syscalls
from tests.support.child import in_child

INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS


@pytest.mark.root
@pytest.mark.parametrize(
    ("call", "number", "what"),
    [
        (lambda: syscalls.unshare(1), errno.EINVAL, "unshare 0x1"),
        (lambda: syscalls.setns(-1, 0), errno.EBADF, "setns 0x0"),
        (lambda: syscalls.mount("", "/proc/none", "tmpfs", 0, ""), errno.ENOENT, "/proc/none"),
        (lambda: syscalls.openat2(-100, "/proc/none", os.O_RDONLY, 0), errno.ENOENT, "/proc/none"),
        (lambda: syscalls.open_tree(-100, "/proc/none", 0), errno.ENOENT, "/proc/none"),
        (lambda: syscalls.mount_setattr(-1, 0, 1, 0, 0), errno.EBADF, "mount_setattr"),
        (lambda: syscalls.close_range(5, 4), errno.EINVAL, "close_range"),
        (lambda: syscalls.prctl(9999), errno.EINVAL, "prctl 9999"),
        (lambda: syscalls.fork(syscalls.CLONE_NEWNS | 0x200), errno.EINVAL, "clone 0x20200"),
    ],
)
def test_a_failure_is_an_oserror_that_names_its_object(call, number, what):
    with pytest.raises(OSError, match=re.escape(what)) as failed:
        call()
    assert (failed.value.errno, failed.value.filename) == (number, what)


def test_every_function_of_the_c_library_is_declared():
    # Undeclared, ctypes would pass a 64-bit flag as an int.
    names = set(re.findall(r"libc\.(\w+)\(", Path(syscalls.__file__).read_text())) - {"syscall"}
    assert len(names) > 4
    assert [name for name in sorted(names) if getattr(syscalls.libc, name).argtypes is None] == []


def test_a_path_is_resolved_inside_its_root_and_closed_on_exec(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("inside")
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    fd = syscalls.openat2(root, "/../../file", os.O_RDONLY, INSIDE)
    try:
        assert os.read(fd, 100) == b"inside"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
        os.close(root)


def test_renames_elsewhere_do_not_fail_a_path_that_climbs(tmp_path):
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "root/file").touch()
    (tmp_path / "one").touch()
    pid = os.fork()
    if pid == 0:
        while True:
            os.rename(tmp_path / "one", tmp_path / "two")
            os.rename(tmp_path / "two", tmp_path / "one")
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        for _ in range(5000):
            os.close(syscalls.openat2(root, "sub/../file", os.O_RDONLY, INSIDE))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(root)


@pytest.mark.parametrize("last", [(), (2**32 - 1,)])
def test_a_range_of_descriptors_is_closed(last):
    def run():
        first = os.open("/", os.O_RDONLY)
        kept, *others = (os.dup2(first, first + n) for n in range(50, 54))
        syscalls.close_range(others[0], *last)
        return [int(fd) - kept for fd in os.listdir("/proc/self/fd") if int(fd) >= kept]

    # The listing has a descriptor of its own, the lowest that is free.
    assert in_child(run) == [0]


def test_only_the_given_range_is_closed():
    def run():
        first = os.open("/", os.O_RDONLY)
        for n in range(50, 54):
            os.dup2(first, first + n)
        syscalls.close_range(first + 51, first + 52)
        return sorted(int(fd) - first for fd in os.listdir("/proc/self/fd") if 50 <= int(fd) - first < 54)

    assert in_child(run) == [50, 53]


def test_prctl_answers_with_a_number():
    assert syscalls.prctl(syscalls.PR_GET_DUMPABLE) in (0, 1, 2)


def test_a_fork_leaves_the_interpreter_as_os_fork_would():
    def run():
        seen = []
        os.register_at_fork(
            before=lambda: seen.append("before"),
            after_in_parent=lambda: seen.append("parent"),
            after_in_child=lambda: seen.append("child"),
        )
        reader, writer = os.pipe()
        pid = syscalls.fork(0)
        if pid == 0:
            os.write(writer, ",".join(seen).encode())
            os._exit(7)
        _, status = os.waitpid(pid, 0)
        return os.read(reader, 100), seen, os.waitstatus_to_exitcode(status)

    assert in_child(run) == (b"before,child", ["before", "parent"], 7)


@pytest.mark.root
def test_a_fork_that_failed_leaves_the_parent_able_to_fork():
    def run():
        with pytest.raises(OSError, match="Invalid argument"):
            syscalls.fork(syscalls.CLONE_NEWNS | 0x200)
        return subprocess.run(["true"]).returncode

    assert in_child(run) == 0


@pytest.mark.root
def test_a_child_in_a_new_pid_namespace_is_its_first():
    def run():
        pid = syscalls.fork(syscalls.CLONE_NEWPID)
        if pid == 0:
            os._exit(os.getpid())
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(run) == 1


def test_every_signal_can_have_its_default_action_the_c_librarys_own_too():
    def ignored():
        with open("/proc/self/status") as status:
            return int(next(line for line in status if line.startswith("SigIgn:")).split()[1], 16)

    def child():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert ignored()
        for signum in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP}:
            syscalls.default_signal(signum)
        assert not ignored()

    in_child(child)


def test_a_thread_of_another_process_is_sent_a_signal():
    with subprocess.Popen(["sleep", "60"]) as process:
        syscalls.tgkill(process.pid, signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
    with pytest.raises(ProcessLookupError):
        syscalls.tgkill(process.pid, signal.SIGINT)
