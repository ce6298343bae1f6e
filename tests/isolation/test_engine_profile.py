"""What an engine may ask of the kernel, tried on a process that stands for one."""

import os
import signal
import socket
import subprocess
import threading

import pytest

from pelagos_core.isolation import libseccomp
from pelagos_core.isolation.engine_profile import COMPILER, EMBEDDED, PROGRAM
from pelagos_core.linux import syscalls
from pelagos_core.oci.seccomp import Rule
from tests.support import child
from tests.support.steps import confine

FILTERS = {
    name: libseccomp.compile_profile(profile) for name, profile in (("embedded", EMBEDDED), ("program", PROGRAM))
}
PTRACE, UNSHARE, MOUNT, SETNS, BPF = (101, 272, 165, 308, 321)  # on x86-64


def outcome(kind, call):
    """`done`, or the error's name."""
    return child.outcome(lambda: confine(FILTERS[kind]), call)


def _thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(
    "call",
    [
        _thread,
        lambda: os.close(os.open("/", os.O_RDONLY)),
        lambda: os.listdir("/"),
        lambda: os.pipe(),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 0)),
        lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        lambda: os.getrandom(8),
        lambda: os.memfd_create("x"),
        lambda: syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9),
    ],
)
def test_what_engines_do_is_left_to_them(kind, call):
    assert outcome(kind, call) == "done"


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(
    "call",
    [
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9),  # NETLINK_AUDIT
        lambda: os.chown("/proc/none", 0, 0),
        lambda: os.mknod("/proc/none"),
        lambda: os.kill(os.getpid(), 0),
        lambda: os.setuid(os.getuid()),
        lambda: os.pidfd_open(os.getpid()),
        lambda: syscalls.prctl(4, 1),  # PR_SET_DUMPABLE: others could then open its memory
    ],
)
def test_what_no_engine_needs_is_as_if_it_did_not_exist(kind, call):
    assert outcome(kind, call) == "ENOSYS"


def test_an_embedded_engine_starts_no_process_and_a_program_is_one():
    assert outcome("embedded", os.fork) == "ENOSYS"
    assert outcome("embedded", lambda: os.execv("/bin/true", ["true"])) == "ENOSYS"
    assert outcome("program", lambda: subprocess.run(["/bin/true"], check=True)) == "done"


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("number", [PTRACE, UNSHARE, MOUNT, SETNS, BPF])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86-64's")
def test_an_attack_ends_the_process(kind, number):
    pid = os.fork()
    if pid == 0:
        confine(FILTERS[kind])
        syscalls._syscall(number, "an attack", 0, 0, 0, 0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSYS


def test_a_new_namespace_is_no_thread():
    for flags in (syscalls.CLONE_NEWUSER, syscalls.CLONE_NEWPID, syscalls.CLONE_NEWNET):
        assert outcome("program", lambda flags=flags: syscalls.fork(flags)) == "ENOSYS"


@pytest.mark.parametrize("profile", [EMBEDDED, PROGRAM, COMPILER])
def test_every_name_is_one_and_stands_once(profile):
    names = [name for rule in profile.rules if not rule.conditions for name in rule.names]
    assert len(names) == len(set(names))
    known = libseccomp._library().seccomp_syscall_resolve_name
    assert [name for name in names if known(name.encode()) == -1] == []
    assert all(isinstance(rule, Rule) for rule in profile.rules)
