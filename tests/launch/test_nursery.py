"""A real nursery with a stub engine: it forks processes that carry plans out, as children of ours."""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

import pelagos_native
from pelagos_core.isolation.state import CODE_DIRECTORY, CONTROL, ENTRYPOINT, ROOT
from pelagos_core.launch import messages, nursery
from pelagos_core.launch.guest_steps import (
    DescribeGuest,
    FindEntrypoint,
    LoadGuest,
    OpenMemoryLimit,
    ReceivePlan,
    RunGuest,
    WaitForStart,
)
from pelagos_core.launch.messages import Found, Ready, Refused, Stopped
from pelagos_core.launch.nursery import CloneOptions, Nursery
from pelagos_core.launch.program_steps import ChooseProgram, ExecuteProgram
from pelagos_core.linux import syscalls
from pelagos_core.linux.child import Child
from pelagos_core.linux.descriptor import Fd
from pelagos_core.linux.syscalls import CLONE_NEWPID
from pelagos_core.native import library
from pelagos_core.native.instruction import Slot, SlotNumbers, encode, instruction
from pelagos_core.plugin import digest
from pelagos_core.plugin.hookspecs import NativePart
from pelagos_core.plugin.limits import Limits, refusal
from tests.support.absent import ABSENT
from tests.support.child import in_child
from tests.support.traces import alive

ROOT_OF_TREE = Path(__file__).parent.parent.parent
MODULE = b"\0asm\1\0\0\0 and more"


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """The path of the stub engine, compiled."""
    made = tmp_path_factory.mktemp("engine") / "stub.so"
    source, include = ROOT_OF_TREE / "tests/native/stub_engine.c", ROOT_OF_TREE / "native/include"
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{include}", "-o", made, source], check=True)
    return str(made)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine takes its time to fork."""
    monkeypatch.setattr(nursery, "_WAIT_SECONDS", 20)


@pytest.fixture
def warm(engine):
    made = Nursery(NativePart(engine, "/lib/none.so"))
    yield made
    made.close()


ANYWHERE = CloneOptions()


class Forked:
    """A process that a nursery has forked: what it says, and how it ends."""

    def __init__(self, made, steps, files=None, clone_options=ANYWHERE):
        self.numbers = SlotNumbers()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        ours.settimeout(20)
        with theirs:
            slots = {CONTROL: theirs.fileno(), **(files or {})}
            plan = self.encoded(steps)
            descriptors = {self.numbers.of(name): fd for name, fd in slots.items()}
            try:
                self.child = Child(made.fork(plan, descriptors, clone_options))
            except BaseException:
                ours.close()
                raise

    def encoded(self, steps):
        return encode([each for step in steps for each in step.instructions()], self.numbers)

    def hear(self):
        """The next message; what came along with it is closed."""
        data, fds, _, _ = socket.recv_fds(self.control, messages.MAX_BYTES, 1)
        for fd in fds:
            os.close(fd)
        return messages.decode(data) if data else None

    def send(self, steps, **files):
        numbers = [self.numbers.of(name) for name in files]
        socket.send_fds(self.control, [nursery.head(numbers), self.encoded(steps)], list(files.values()))

    def go(self):
        self.control.send(messages.GO)

    def close(self):
        self.control.close()
        self.child.close()

    @property
    def code(self):
        return self.child.wait(20).si_status


def guest(*arguments, **fields):
    return DescribeGuest(
        **{
            "arguments": arguments,
            "environment": ("A=b",),
            "directories": (("/", "/"),),
            "calls": ("_start",),
            "is_component": False,
            "memories": (65536,),
            "limits": Limits(),
            "cwd": "/",
            **fields,
        }
    )


@contextlib.contextmanager
def launched(made, *arguments, before=(), files=None, **fields):
    """A guest up to its run."""
    steps = [guest(*arguments, **fields), *before, LoadGuest("/app.wasm", False), WaitForStart(), RunGuest()]
    with Fd(os.open(os.devnull, os.O_RDONLY)) as module:
        forked = Forked(made, steps, {ENTRYPOINT: module, **(files or {})})
    with contextlib.closing(forked):
        yield forked


def test_a_guest_is_described_loaded_and_run(warm, tmp_path):
    output = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    reading = [
        FindEntrypoint(("/none", "/app.wasm")),
        ReceivePlan(),
    ]
    (tmp_path / "app.wasm").write_bytes(MODULE)
    root = os.open(tmp_path, os.O_PATH)
    with contextlib.closing(Forked(warm, reading, {ROOT: root, "stdout": output})) as forked:
        found = forked.hear()
        file = os.open(tmp_path / "app.wasm", os.O_RDONLY)
        assert found == Found(1, os.fstat(file).st_mode, MODULE[:8].hex(), digest.sha256(file))
        (tmp_path / "code").write_bytes(b"code")
        code = os.open(tmp_path, os.O_RDONLY)
        (tmp_path / "work").mkdir()
        (tmp_path / "link").symlink_to("/work")
        limits = Limits(memory=1 << 20, fuel=9)
        described = guest("app", "word", limits=limits, memories=(1, 2), is_component=True, cwd="/link")
        forked.send([described, LoadGuest("/app.wasm", True), WaitForStart()], **{CODE_DIRECTORY: code})
        assert forked.hear() == Ready()
        forked.go()
        assert forked.code == 0
    for fd in (root, output, file, code):
        os.close(fd)


def test_what_the_engine_gets(warm, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("/work")
    reader, writer = os.pipe()
    root = os.open(tmp_path, os.O_PATH)
    limits = Limits(memory=1 << 20, fuel=9)
    described = guest("app", "word", limits=limits, memories=(1, 2), is_component=True, cwd="/link")
    steps = [described, LoadGuest("/app.wasm", False), WaitForStart(), To("stdout", 1), RunGuest()]
    with contextlib.closing(Forked(warm, steps, {ROOT: root, "stdout": writer, ENTRYPOINT: root})) as forked:
        os.close(writer)
        assert forked.hear() == Ready()
        assert not select.select([reader], [], [], 0)[0]  # nothing runs before Start
        forked.go()
        assert forked.code == 7
    assert os.read(reader, 4096) == b"app word A=b PWD=/work _start /=/ 1 2 1 1048576 9\n"
    os.close(reader)
    os.close(root)


class To:
    """The stream in a slot as a descriptor."""

    def __init__(self, name, number):
        self.name, self.number = name, number

    def instructions(self):
        return (instruction("use_slot", Slot(self.name), self.number),)


@pytest.mark.parametrize(("words", "code"), [(("leave",), 300 & 0xFF), (("trap",), 134), (("grow", "9"), 1)])
def test_how_a_guest_ends(warm, words, code):
    with launched(warm, *words) as forked:
        assert forked.hear() == Ready()
        forked.go()
        assert forked.code == code


@pytest.mark.parametrize(
    ("word", "error", "detail"),
    [("stale", 116, "of another engine"), ("invalid", 22, 'cannot be linked: "x"\n\\')],
)
def test_what_the_engine_refuses_is_reported(warm, word, error, detail):
    with launched(warm, word) as forked:
        stopped = forked.hear()
        assert (stopped.plan, stopped.error, stopped.detail) == (0, error, detail)
        assert library.stages()[stopped.stage] == "load"
        assert forked.code == 1


def test_a_growth_is_refused_by_the_limit_of_the_moment_and_reported_once(warm, tmp_path):
    limit = tmp_path / "limit"
    mib = 1 << 20
    limit.write_text(f"{16 * mib}\n")
    reader, writer = os.pipe()
    before = [OpenMemoryLimit(str(limit)), To("stderr", 2)]
    with launched(warm, "grow", str(14 * mib + mib // 3), before=before, files={"stderr": writer}) as forked:
        os.close(writer)
        assert forked.hear() == Ready()
        forked.go()
        assert forked.hear() == Refused(14 * mib + mib // 3, 16 * mib)
        assert forked.code == 0
    told = refusal(14 * mib + mib // 3, 16 * mib)
    with os.fdopen(reader) as said:
        assert said.read() == f"pelagos: {told} [PLG-MEMORY]\n"
    assert "14.3 MiB of memory; the container's limit is 16 MiB (14 MiB of it" in told
    limit.write_text("max\n")
    with launched(warm, "grow", str(1 << 60), before=[OpenMemoryLimit(str(limit))]) as forked:
        assert forked.hear() == Ready()
        forked.go()
        assert forked.code == 1


def test_without_a_control_file_the_limit_is_the_one_of_create(warm, tmp_path):
    for size, code in ((1000, 1), (1001, 0)):
        before = [OpenMemoryLimit(str(tmp_path / "none"))]
        with launched(warm, "grow", str(size), before=before, limits=Limits(memory=1000)) as forked:
            assert forked.hear() == Ready()
            forked.go()
            assert forked.code == code


@pytest.mark.parametrize("kind", ["fifo", "directory", "dangling"])
def test_only_a_regular_file_is_an_entry_point(warm, tmp_path, kind):
    path = tmp_path / "app.wasm"
    {"fifo": os.mkfifo, "directory": os.mkdir, "dangling": lambda p: os.symlink(ABSENT, p)}[kind](path)
    root = os.open(tmp_path, os.O_PATH)
    with contextlib.closing(Forked(warm, [FindEntrypoint(("/app.wasm",)), ReceivePlan()], {ROOT: root})) as forked:
        assert isinstance(forked.hear(), Stopped)
    os.close(root)


@pytest.mark.parametrize(("head", "size"), [(b"\0asm\1\0\0\0", 2 << 30), (b"text or so", 1 << 40)])
def test_what_no_engine_takes_is_not_read_to_its_end(warm, tmp_path, head, size):
    path = tmp_path / "app.wasm"
    path.write_bytes(head)
    os.truncate(path, size)
    root = os.open(tmp_path, os.O_PATH)
    with contextlib.closing(Forked(warm, [FindEntrypoint(("/app.wasm",)), ReceivePlan()], {ROOT: root})) as forked:
        assert forked.hear() == Found(0, path.stat().st_mode, head[:8].hex(), "")
    os.close(root)


def test_a_process_ends_with_the_daemon(warm):
    """Which closes its end of the socket then."""
    with launched(warm, "app") as forked:
        assert forked.hear() == Ready()
        forked.control.close()
        assert forked.code == 1


def test_a_crash_of_the_engine_ends_its_process_alone(warm):
    with launched(warm, "crash") as forked:
        assert forked.hear() is None
        assert forked.child.wait(20).si_status == signal.SIGABRT
    with launched(warm, "app") as forked:
        assert forked.hear() == Ready()


def test_a_nursery_whose_engine_fails_forks_nothing(engine):
    made = Nursery(NativePart(engine, "/lib/none.so", "broken"))
    with pytest.raises(OSError, match=r"nursery|ended|Broken|reset"):
        Forked(made, [WaitForStart()])
    made.close()


def test_a_nursery_of_another_build_forks_nothing(monkeypatch, capfd):
    """To its table of operations a plan would be another one."""
    monkeypatch.setattr(library, "identity", lambda: "0" * 64)
    made = Nursery()
    with pytest.raises(OSError, match=r"nursery|ended|Broken|reset"):
        Forked(made, [WaitForStart()])
    made.close()
    assert "its build differs" in capfd.readouterr().err


def test_what_is_no_plan_is_refused(warm):
    with pytest.raises(OSError, match="Bad message"):
        warm.fork(b"", {5000: 0}, CloneOptions())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, Child(warm.fork(b"\xff" * 40, {0: theirs.fileno()}, CloneOptions())):
        theirs.close()
        assert messages.decode(ours.recv(4096)).error == 74  # EBADMSG


def test_a_nursery_that_is_lost_is_executed_again(warm):
    with launched(warm, "app") as forked:
        assert forked.hear() == Ready()
    os.kill(warm._child.pid, signal.SIGKILL)
    with pytest.raises(OSError, match=r"nursery|ended|Broken|reset"):
        Forked(warm, [WaitForStart()])
    with launched(warm, "app") as forked:
        assert forked.hear() == Ready()


def test_it_ends_with_the_daemon_and_holds_nothing_of_it(warm):
    with launched(warm, "app") as forked:
        assert forked.hear() == Ready()
        pid = warm._child.pid
        held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert len(held) == 4
        assert [name.partition(":")[0] for name in sorted(held)].count("socket") == 1
        warm.close()
        assert not alive(pid)


@pytest.mark.root
def test_a_process_is_the_first_of_a_new_pid_namespace(warm):
    with contextlib.closing(Forked(warm, [WaitForStart()], clone_options=CloneOptions(CLONE_NEWPID))) as forked:
        assert forked.hear() == Ready()
        assert os.readlink(f"/proc/{forked.child.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        with open(f"/proc/{forked.child.pid}/status") as file:
            assert f"NSpid:\t{forked.child.pid}\t1\n" in file.read()


@pytest.mark.root
def test_a_process_is_born_in_a_control_group_of_v2(warm, tmp_path):
    """Also on a host of v1: its tree of v2 is there, if empty and mounted nowhere."""
    subprocess.run(["mount", "-t", "cgroup2", "none", tmp_path], check=True)
    group = tmp_path / f"pelagos-test-{os.getpid()}"
    try:
        group.mkdir()
        with contextlib.closing(
            Forked(warm, [WaitForStart()], clone_options=CloneOptions(CLONE_NEWPID, str(group)))
        ) as forked:
            assert forked.hear() == Ready()
            assert Path(f"/proc/{forked.child.pid}/cgroup").read_text().splitlines()[-1] == f"0::/{group.name}"
        group.rmdir()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("group", [ABSENT, "/tmp"])
def test_one_that_cannot_be_born_there_is_born_all_the_same(warm, group):
    with contextlib.closing(Forked(warm, [WaitForStart()], clone_options=CloneOptions(0, group))) as forked:
        assert forked.hear() == Ready()


@pytest.mark.root
def test_the_hosts_program_cannot_be_written_by_a_process_that_has_it(warm):
    with contextlib.closing(Forked(warm, [WaitForStart()])) as forked:
        assert forked.hear() == Ready()
        for pid in (warm._child.pid, forked.child.pid):
            program = f"/proc/{pid}/exe"
            assert os.path.samefile(program, pelagos_native.NURSERY)
            assert os.statvfs(program).f_flag & os.ST_RDONLY


def test_without_privileges_it_is_executed_as_it_is(engine, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(nursery, "detached", refuse)
    with contextlib.closing(Nursery()) as made, contextlib.closing(Forked(made, [WaitForStart()])) as forked:
        assert forked.hear() == Ready()


def test_a_program_begins_without_any_ignored_signal(tmp_path):
    """Also without those that the C library keeps for itself, which a daemon may have been executed with."""

    def run():
        ignored = struct.pack("=QQQQ", signal.SIG_IGN, 0, 0, 0)
        for number in (32, 33, signal.SIGHUP):
            assert not syscalls.libc.syscall(syscalls._SYS_RT_SIGACTION, number, ignored, None, 8)
        output = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
        made = Nursery()
        program = ChooseProgram("/bin/grep", ())
        steps = [program, WaitForStart(), To("stdout", 1), ExecuteProgram(("grep", "SigIgn", "/proc/self/status"), ())]
        with contextlib.closing(made), contextlib.closing(Forked(made, steps, {"stdout": output})) as forked:
            assert forked.hear() == Ready()
            forked.go()
            assert forked.code == 0

    in_child(run)
    assert (tmp_path / "out").read_text().split() == ["SigIgn:", "0" * 16]


def test_a_process_that_is_killed_before_its_own_message_is_returned_all_the_same():
    """As one in the pid namespace of a container that ends; not reaped, it would keep that from its end."""
    made = Nursery()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with ours, theirs:
        theirs.send(struct.pack("=i", 7))
        assert made._answer(ours) == 7
        theirs.send(b"!")  # by its credentials from us
        theirs.send(struct.pack("=i", os.getpid()))
        assert made._answer(ours) == os.getpid()
        assert (made._returned, made._reported) == ({7}, set())
