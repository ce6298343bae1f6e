"""The compile process: what it can reach, what ends it, what its failure looks like."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pelagos_core.errors import DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted
from pelagos_core.isolation import libseccomp
from pelagos_core.linux import syscalls
from tests.support import compiling

pytestmark = pytest.mark.root


def outcome(tmp_path, compile, **settings):
    """What the compile hook returns, as JSON: what it has found around it."""
    code, _ = compiling.obtain(
        compiling.request(tmp_path, lambda entrypoint: json.dumps(compile(entrypoint)).encode(), **settings)
    )
    return json.loads(code)


def status():
    """Its capabilities and so on: there is no /proc, so by the system calls."""
    return {"uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "pid": os.getpid()}


def refused(call):
    try:
        call()
    except OSError as error:
        return error.strerror
    return "it worked"


def test_it_has_no_privileges_and_no_process_but_itself(tmp_path):
    found = outcome(tmp_path, lambda _: status(), size=0)
    assert found == {"uid": [65534] * 3, "gid": [65534] * 3, "groups": [], "pid": 1}
    ways = [lambda: os.setuid(0), lambda: os.kill(-1, 0), lambda: os.mkdir("/x"), lambda: os.chroot("/")]
    said = outcome(tmp_path, lambda _: [refused(way) for way in ways], size=0, confined=False)
    assert said == ["Operation not permitted", "No such process", "Read-only file system", "Operation not permitted"]


def test_it_sees_no_file_but_its_own_output(tmp_path):
    def look(_entrypoint):
        there = [
            path for path in ("/code", "/etc", "/proc", "/dev", "/tmp", "/usr", "/..code") if os.path.lexists(path)
        ]
        return [there, refused(lambda: os.open("/code", os.O_RDWR)), refused(lambda: os.listdir("/")), os.getcwd()]

    assert outcome(tmp_path, look) == [["/code"], "Permission denied", "Permission denied", "/"]


def test_it_has_no_descriptor_but_its_own(tmp_path):
    def look(entrypoint):
        opened = []
        for fd in range(3, 64):
            try:
                opened.append(os.fstat(fd).st_size)
            except OSError:
                continue
        return [len(opened), len(entrypoint.read()) in opened]

    assert outcome(tmp_path, look) == [3, True]  # the module, the output, the report


def test_its_module_cannot_be_changed(tmp_path):
    assert (
        outcome(tmp_path, lambda entrypoint: refused(lambda: os.pwrite(entrypoint.file, b"x", 0)))
        == "Operation not permitted"
    )


def test_it_has_no_network(tmp_path):
    def look(_entrypoint):
        with socket.socket() as sock:
            names = [name for _, name in socket.if_nameindex()]
            return [names, refused(lambda: sock.connect(("127.0.0.1", 1)))]

    names, why = outcome(tmp_path, look, confined=False)
    assert names == ["lo"]
    assert why == "Network is unreachable"


@pytest.mark.parametrize(
    "call",
    [
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        lambda: socket.socketpair(),
        lambda: os.fork(),
        lambda: os.execv("/code", ["code"]),
        lambda: os.kill(1, 0),
        lambda: os.pidfd_open(1),
        lambda: os.rename("/code", "/other"),
    ],
)
def test_system_calls_that_compiling_does_not_need_do_not_exist(tmp_path, call):
    assert outcome(tmp_path, lambda _: refused(call)) == "Function not implemented"


@pytest.mark.parametrize("name", ["chroot", "ptrace", "mount", "unshare", "bpf", "process_vm_readv"])
def test_a_system_call_that_is_an_attack_ends_it(tmp_path, name):
    with pytest.raises(Internal, match="failed in compile: the process was killed by SIGSYS"):
        outcome(tmp_path, lambda _: syscalls.libc.syscall(libseccomp._resolved(name), 0, 0, 0, 0, 0))


def test_it_may_compile_on_many_threads(tmp_path):
    def compile(_entrypoint):
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: number + 1, range(8)))

    assert outcome(tmp_path, compile) == list(range(1, 9))


def test_it_knows_nothing_of_the_container_but_the_module(tmp_path):
    def look(entrypoint):
        return [
            entrypoint.kind.value,
            entrypoint.path,
            entrypoint.args,
            entrypoint.env,
            entrypoint.read().decode("latin1"),
        ]

    assert outcome(tmp_path, look) == ["core module", "/app.wasm", ["/app.wasm"], [], compiling.MODULE.decode("latin1")]


def test_its_output_is_discarded(tmp_path, capfd):
    outcome(tmp_path, lambda _: [os.write(1, b"noise"), os.write(2, b"noise")])
    assert capfd.readouterr() == ("", "")


def raising(error):
    def compile(_entrypoint):
        raise error

    return compile


@pytest.mark.parametrize(
    ("compile", "error", "message"),
    [
        (raising(InvalidArgument("'/app.wasm' is not valid")), InvalidArgument, "^'/app.wasm' is not valid$"),
        (raising(ValueError("lost")), Internal, "backend 'tiny': compile: ValueError: lost.*ENGINE-FAILED"),
        (raising(SystemExit(3)), Internal, "backend 'tiny': compile: SystemExit: 3.*ENGINE-FAILED"),
        (raising(Internal("I am lost")), Internal, "I am lost.*ENGINE-FAILED"),
        (raising(InvalidArgument("x" * 100_000)), InvalidArgument, "^x{4096}$"),
        (lambda _: None, Internal, "backend 'tiny': compile returned no code.*ENGINE-FAILED"),
        (lambda _: b"", Internal, "backend 'tiny': compile returned no code"),
        (lambda _: "text", Internal, "backend 'tiny': compile returned no code"),
        (lambda _: os._exit(0), Internal, "'/app.wasm': backend 'tiny' failed in compile: the process was lost"),
        (lambda _: syscalls.libc.strlen(None), Internal, "failed in compile: the process was killed by SIGSEGV"),
        (lambda _: os.abort(), Internal, "failed in compile: the process was killed by SIG"),
    ],
)
def test_its_failure_is_reported_as_the_container_s(tmp_path, compile, error, message):
    with pytest.raises(error, match=message):
        compiling.obtain(compiling.request(tmp_path, compile))
    assert [each for each in os.listdir(tmp_path / "cache") if each != "lock"] == []


def test_its_time_is_limited(tmp_path):
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"'/app\.wasm': backend 'tiny' did not compile it in 1 s"):
        compiling.obtain(compiling.request(tmp_path, lambda _: time.sleep(60), seconds=1))
    assert time.monotonic() - began < 10


def test_its_memory_is_limited(tmp_path):
    with pytest.raises(ResourceExhausted, match="MemoryError"):
        compiling.obtain(compiling.request(tmp_path, lambda _: bytes(1 << 30), memory=256 << 20))


def test_a_module_larger_than_its_memory_is_refused(tmp_path):
    with pytest.raises(ResourceExhausted, match=r"larger than the 1\.0 KiB that compiling may take"):
        compiling.obtain(compiling.request(tmp_path, lambda _: b"x", bytes(4096), memory=1024))


def test_what_it_leaves_running_ends_with_it(tmp_path):
    def compile(_entrypoint):
        if os.fork() == 0:
            time.sleep(600)  # and holds the report open: while this process runs, the report does not end
        return b"code"

    assert compiling.obtain(compiling.request(tmp_path, compile, seconds=60, confined=False))[0] == b"code"
