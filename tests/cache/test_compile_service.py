"""The compile service: compiles once, gives out what is kept, and does without a store if it must."""

import contextlib
import errno
import mmap
import os
import select
import signal
import time
from pathlib import Path

import pytest

from pelagos_core.cache import compile_service
from pelagos_core.cgroups.group import Cgroup
from pelagos_core.errors import InvalidArgument
from tests.support import code, compiling
from tests.support.traces import alive, children, comm

pytestmark = pytest.mark.root


def compile(entrypoint):
    return b"code of " + entrypoint.read()


def obtain(tmp_path, compile=compile, module=compiling.MODULE, **settings):
    return compiling.obtain(compiling.request(tmp_path, compile, module, **settings))


def never(_entrypoint):
    raise AssertionError("compiled again")


def test_a_module_is_compiled_once(tmp_path):
    expected = b"code of " + compiling.MODULE
    assert obtain(tmp_path) == (expected, "compiled")
    assert obtain(tmp_path, never) == (expected, "found")
    other = compiling.MODULE + b"\0"
    assert obtain(tmp_path, module=other) == (b"code of " + other, "compiled")


def test_a_broken_entry_is_compiled_again(tmp_path, caplog):
    obtain(tmp_path)
    place = code.entry(tmp_path / "cache") / "code"
    place.chmod(0o600)
    place.write_bytes(b"evil")
    place.chmod(0o444)
    assert obtain(tmp_path) == (b"code of " + compiling.MODULE, "compiled")
    assert obtain(tmp_path, never)[1] == "found"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path.mkdir(), path.chmod(0o777)),
        lambda path: (path.mkdir(0o700), os.chown(path, 1, 1)),
        lambda path: (path.with_name("elsewhere").mkdir(0o700), path.symlink_to("elsewhere")),
        lambda path: path.write_bytes(b"a file"),
    ],
)
def test_a_store_that_cannot_be_trusted_is_done_without(tmp_path, spoil):
    spoil(tmp_path / "cache")
    before = sorted(os.listdir(tmp_path / "cache")) if (tmp_path / "cache").is_dir() else []
    assert obtain(tmp_path) == (b"code of " + compiling.MODULE, "compiled, not kept")
    if before or (tmp_path / "cache").is_dir():
        assert sorted(os.listdir(tmp_path / "cache")) == before


@contextlib.contextmanager
def mounted(path, options):
    path.mkdir()
    assert os.system(f"mount -t tmpfs -o mode=700,{options} cache {path}") == 0
    try:
        yield
    finally:
        assert os.system(f"umount {path}") == 0


def test_a_full_disk_is_no_reason_to_fail(tmp_path):
    with mounted(tmp_path / "cache", "size=64k"):
        large = bytes(1 << 20)
        assert obtain(tmp_path, lambda _: large) == (large, "compiled, not kept")
        assert os.listdir(tmp_path / "cache") == ["lock"]


def test_a_read_only_store_is_read(tmp_path):
    with mounted(tmp_path / "cache", "size=1m"):
        obtain(tmp_path)
        assert os.system(f"mount -o remount,ro {tmp_path}/cache") == 0
        assert obtain(tmp_path, never)[1] == "found"
        other = compiling.MODULE + b"\0"
        assert obtain(tmp_path, module=other) == (b"code of " + other, "compiled, not kept")


def test_code_larger_than_the_store_is_not_kept(tmp_path):
    assert obtain(tmp_path, size=4) == (b"code of " + compiling.MODULE, "compiled, not kept")
    assert obtain(tmp_path, size=0) == (b"code of " + compiling.MODULE, "compiled, not kept")


def test_the_store_stays_within_its_size(tmp_path):
    for number in range(4):
        obtain(tmp_path, lambda _: bytes(8192), compiling.MODULE + bytes([0, 1, number]), size=20_000)
    assert len([each for each in os.listdir(tmp_path / "cache") if each != "lock"]) == 2


def test_what_lies_in_an_image_is_never_taken_for_code(tmp_path):
    """Under the name of an entry, in the working directory, or as the module itself."""
    obtain(tmp_path)
    native = b"\x7fELF" + bytes(60)
    assert obtain(tmp_path, module=native) == (b"code of " + native, "compiled")


def pause(entrypoint):
    time.sleep(600)


def test_two_at_once_compile_once_and_the_second_takes_over_from_a_killed_one(tmp_path):
    first = compiling.request(tmp_path, pause)
    leader = compile_service.fork(first, Cgroup(()))
    while not (tmp_path / "cache/lock").exists() or not _is_locked(tmp_path / "cache/lock"):
        time.sleep(0.01)
    second = compiling.request(tmp_path, compile)
    waiter = compile_service.fork(second, Cgroup(()))
    assert select.select([waiter.socket], [], [], 0.3)[0] == []
    leader.close()
    assert select.select([waiter.socket], [], [], 10)[0]
    directory, how = waiter.answer()
    assert (code.read(directory), how) == (b"code of " + compiling.MODULE, "compiled")
    waiter.close()
    os.close(first.file)
    os.close(second.file)


class Compiling:
    """Compile services that compile one module each, for a given time."""

    def __init__(self, tmp_path, number):
        # Bytes that all of them share: which have begun, and which are to end.
        self._shared = mmap.mmap(-1, 2 * number)
        self.number = number
        self.requests = [self._request(tmp_path, each) for each in range(number)]
        self.services = [compile_service.fork(request, Cgroup(())) for request in self.requests]

    def _request(self, tmp_path, each):
        request = compiling.request(tmp_path, lambda _: self._compile(each), compiling.MODULE + bytes([0, 1, each]))
        (tmp_path / "module.wasm").unlink()  # the next one has a file of its own
        return request

    def _compile(self, each):
        self._shared[each] = 1
        while not self._shared[self.number + each]:
            time.sleep(0.01)
        return b"code"

    def begun(self):
        return {each for each in range(self.number) if self._shared[each]}

    def until_begun(self, many):
        deadline = time.monotonic() + 60
        while len(self.begun()) < many and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.begun()

    def finish(self, each):
        self._shared[self.number + each] = 1

    def kill(self, each):
        self.services[each].close()
        self.services[each] = None

    def close(self):
        for made in filter(None, self.services):
            made.close()
        for request in self.requests:
            os.close(request.file)


def test_no_more_than_so_many_modules_are_compiled_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_service, "TURNS", 2)
    with contextlib.closing(Compiling(tmp_path, 5)) as work:
        first, second = work.until_begun(2)
        time.sleep(0.5)
        assert len(work.begun()) == 2
        work.finish(first)
        (third,) = work.until_begun(3) - {first, second}
        work.kill(second)  # the turn of a killed one is free
        (fourth,) = work.until_begun(4) - {first, second, third}
        (waiting,) = set(range(5)) - work.begun()
        work.kill(waiting)  # as is the place of one that waits
        for each in (third, fourth):
            work.finish(each)
            assert select.select([work.services[each].socket], [], [], 60)[0]
            directory, how = work.services[each].answer()
            assert (code.read(directory), how) == (b"code", "compiled")


def test_waiting_for_the_modules_of_others_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_service, "TURNS", 1)
    monkeypatch.setattr(compile_service, "PATIENCE_SECONDS", 0.3)
    with contextlib.closing(Compiling(tmp_path, 3)) as work:
        work.until_begun(1)
        assert work.until_begun(3) == {0, 1, 2}


def _is_locked(path):
    with open("/proc/locks") as file:
        return f":{path.stat().st_ino} " in file.read()


def test_a_module_that_changes_while_it_is_read_is_kept_under_what_was_compiled(tmp_path):
    request = compiling.request(tmp_path, compile)
    with open(tmp_path / "module.wasm", "r+b") as file:
        file.write(b"\0asm\2")
    assert compiling.obtain(request)[0] == b"code of \0asm\2\0\0\0"
    assert obtain(tmp_path) == (b"code of " + compiling.MODULE, "compiled")


def test_a_failure_is_not_kept(tmp_path):
    def fail(_entrypoint):
        raise InvalidArgument("not valid")

    with pytest.raises(InvalidArgument, match="not valid"):
        obtain(tmp_path, fail)
    assert obtain(tmp_path)[1] == "compiled"


def test_a_fork_that_fails_leaves_no_group(tmp_path, monkeypatch):
    def fail():
        raise OSError(errno.EAGAIN, "no process is left")

    monkeypatch.setattr(os, "fork", fail)
    request = compiling.request(tmp_path, compile)
    cgroup = compile_service.make_group(request.cache)
    assert cgroup.exists()
    with pytest.raises(OSError, match="no process is left"):
        compile_service.fork(request, cgroup)
    assert not cgroup.exists()
    os.close(request.file)


def test_a_killed_keeper_takes_the_compile_process_along(tmp_path):
    request = compiling.request(tmp_path, pause)
    made = compile_service.fork(request, Cgroup(()))
    deadline = time.monotonic() + 10
    while not (forked := children(made.child.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    (compiler,) = forked
    while comm(compiler) == comm(made.child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (comm(made.child.pid), comm(compiler)) == ("pelagos-cache", "pelagos-compile")
    made.close()
    os.close(request.file)
    while alive(compiler) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(compiler)
    assert obtain(tmp_path)[1] == "compiled"


def test_the_groups_of_a_killed_process_are_removed_by_the_next_even_if_it_is_a_zombie(tmp_path):
    request = compiling.request(tmp_path, compile)
    owner = os.fork()
    if owner == 0:
        compile_service.make_group(request.cache)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitid(os.P_PID, owner, os.WSTOPPED)
    # Checked while it runs: another test's compilation may be the next one.
    left = [path for made in Cgroup.of("", "any").paths for path in Path(made).parent.glob(f"compile-*-{owner}-*")]
    assert left
    os.kill(owner, signal.SIGKILL)
    os.waitid(os.P_PID, owner, os.WEXITED | os.WNOWAIT)
    compile_service.make_group(request.cache).try_remove()
    assert not [path for path in left if path.exists()]
    os.waitpid(owner, 0)
    os.close(request.file)


def test_groups_of_ended_parents_are_removed_and_those_of_other_pid_namespaces_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_service, "_pid_namespace", lambda: 7)
    monkeypatch.setattr(compile_service.process_stat, "is_exiting", lambda pid: pid == 11)
    for name in ("compile-7-11-0", "compile-7-12-0", "compile-8-11-0", "other"):
        (tmp_path / name).mkdir()
    compile_service._sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compile-7-12-0", "compile-8-11-0", "other"]
