"""A task's life over ttrpc, through a real shim process, as containerd would see it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import types_pb2
from pelagos_core.errors import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PelagosError,
    Unimplemented,
)
from pelagos_core.ttrpc.client import Client
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.patience import until
from tests.support.shim import TASK, flags, mount, running_shim, shim_command
from tests.support.traces import alive, cgroups_of, descriptors, processes

pytestmark = [pytest.mark.root, pytest.mark.guests]

CREATE, START, EXIT, DELETE = "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"


async def test_a_task_goes_through_its_life_and_its_events_come_in_order(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "exit7.wasm")
    async with running_shim(tmp_path) as shim:
        before = time.time()
        pid = await shim.create("c1", bundle)
        state = await shim.state("c1")
        assert (state.status, state.pid, state.bundle) == (types_pb2.CREATED, pid, str(bundle))
        assert (await shim.call("Connect", api.ConnectRequest(id="c1"))).task_pid == pid
        waiting = asyncio.ensure_future(shim.wait("c1"))
        assert await shim.start("c1") == pid
        status = await waiting
        assert status.exit_status == 7
        assert before <= status.exited_at.seconds + status.exited_at.nanos / 1e9 <= time.time()
        state = await shim.state("c1")
        assert (state.status, state.exit_status, state.exited_at) == (types_pb2.STOPPED, 7, status.exited_at)
        deleted = await shim.delete("c1")
        assert (deleted.pid, deleted.exit_status, deleted.exited_at) == (pid, 7, status.exited_at)
        await shim.events.until("c1", CREATE, START, EXIT, DELETE)
        assert shim.events.exit("c1").id == "c1"
        assert shim.events.exit("c1").pid == pid
        with pytest.raises(NotFound, match="container 'c1'"):
            await shim.state("c1")


async def test_state_and_kill_answer_while_a_wait_is_pending(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        waiting = [asyncio.ensure_future(shim.wait("c1")) for _ in range(3)]
        await shim.start("c1")
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        assert not any(wait.done() for wait in waiting)
        await shim.kill("c1", signal.SIGTERM)
        statuses = await asyncio.wait_for(asyncio.gather(*waiting), 1)
        assert {status.exit_status for status in statuses} == {143}
        assert len({status.exited_at.ToNanoseconds() for status in statuses}) == 1
        assert (await shim.wait("c1")).exit_status == 143  # a late one too


@pytest.mark.parametrize(("signum", "code"), [(9, 137), (15, 143), (2, 130), (10, 138)])
async def test_death_by_a_signal_is_128_and_its_number(tmp_path, guests, signum, code):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        await shim.kill("c1", signum)
        assert (await shim.wait("c1")).exit_status == code
        with pytest.raises(NotFound, match="cannot kill, it is stopped"):
            await shim.kill("c1", 9)


async def test_a_guest_that_is_killed_by_hand_is_seen(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        await shim.start("c1")
        os.kill(pid, signal.SIGKILL)
        assert (await shim.wait("c1")).exit_status == 137
        await shim.events.until("c1", CREATE, START, EXIT)


async def test_a_task_that_was_only_created_can_be_killed_or_deleted(tmp_path, guests):
    for number in range(2):
        make_bundle(tmp_path / f"c{number}", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c0", tmp_path / "c0")
        await shim.kill("c0", 9)
        assert (await shim.wait("c0")).exit_status == 137
        assert (await shim.state("c0")).status == types_pb2.STOPPED
        with pytest.raises(FailedPrecondition, match="cannot start, it is stopped"):
            await shim.start("c0")
        await shim.delete("c0")
        await shim.events.until("c0", CREATE, EXIT, DELETE)
        await shim.create("c1", tmp_path / "c1")
        assert (await shim.delete("c1")).exit_status == 137
        await shim.events.until("c1", CREATE, EXIT, DELETE)


async def test_a_kill_ends_a_long_compilation_and_everything_else_answers_meanwhile(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "greet.wasm")  # a second of compiling
    async with running_shim(tmp_path) as shim:
        creating = asyncio.ensure_future(shim.create("c1", bundle))
        await until(lambda: processes(shim.pid))
        assert (await shim.state("c1")).status == types_pb2.CREATED
        with pytest.raises(AlreadyExists):
            await shim.create("c1", bundle)
        with pytest.raises(FailedPrecondition, match="cannot start, it is being created"):
            await shim.start("c1")
        await shim.kill("c1", 9)
        with pytest.raises(Cancelled, match="container 'c1': killed while it was being created"):
            await creating
        assert not processes(shim.pid)
        assert shim.events.of("c1") == []


async def test_a_wait_during_a_create_that_fails_is_answered(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "greet.wasm")
    async with running_shim(tmp_path) as shim:
        creating = asyncio.ensure_future(shim.create("c1", bundle))
        await until(lambda: processes(shim.pid))
        waiting = asyncio.ensure_future(shim.wait("c1"))
        await shim.kill("c1", 9)
        with pytest.raises(NotFound, match="container 'c1' was never created"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(Cancelled):
            await creating


async def test_a_bundle_that_cannot_be_cleaned_is_deleted_all_the_same(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.kill("c1", 9)
        await shim.wait("c1")
        subprocess.run(["mount", "--bind", "-o", "ro", bundle, bundle], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", bundle], check=True)
        try:
            assert (await shim.delete("c1")).exit_status == 137
        finally:
            subprocess.run(["umount", bundle], check=True)
        assert await shim.run("c1", bundle) == 0


async def test_two_containers_cannot_share_a_cgroup(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        for name in ("c1", "c2"):
            change_config(
                make_bundle(tmp_path / name, module=guests / "hello.wasm"), linux={"cgroupsPath": "/pelagos/same"}
            )
        await shim.create("c1", tmp_path / "c1")
        with pytest.raises(FailedPrecondition, match="in use by container 'c1'"):
            await shim.create("c2", tmp_path / "c2")
        await shim.delete("c1")


async def test_wrong_states_are_refused_by_name(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        with pytest.raises(AlreadyExists, match="container 'c1' already exists"):
            await shim.create("c1", bundle)
        await shim.start("c1")
        with pytest.raises(FailedPrecondition, match="container 'c1': cannot start, it is running"):
            await shim.start("c1")
        with pytest.raises(FailedPrecondition, match="container 'c1': cannot delete, it is running"):
            await shim.delete("c1")
        with pytest.raises(InvalidArgument, match="99 is not a signal"):
            await shim.kill("c1", 99)
        for method in ("State", "Start", "Wait", "Kill", "Delete", "Pids"):
            with pytest.raises(NotFound, match="container 'nobody'"):
                await shim.call(method, getattr(api, f"{method}Request")(id="nobody"))
        with pytest.raises(NotFound, match="no process 'e1'"):
            await shim.call("State", api.StateRequest(id="c1", exec_id="e1"))
        assert (await shim.call("Connect", api.ConnectRequest(id="nobody"))).task_pid == 0


async def test_both_names_of_the_service_answer_and_others_do_not(tmp_path):
    async with running_shim(tmp_path) as shim:
        for service in TASK:
            async with await Client.connect(shim.address, service) as client:
                assert (await client.call("Connect", api.ConnectRequest(id="x"))).shim_pid == shim.pid
        for method in ("Checkpoint",):
            with pytest.raises(Unimplemented, match=f"method {method}"):
                await shim.call(method)


async def test_pids_lists_the_init_process_until_it_is_deleted(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "exit7.wasm")
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        for step in (None, shim.start, shim.wait):
            if step:
                await step("c1")
            answer = await shim.call("Pids", api.PidsRequest(id="c1"))
            assert [process.pid for process in answer.processes] == [pid]


async def test_many_tasks_in_one_shim_leave_nothing_in_it(tmp_path, guests):
    for number in range(40):
        make_bundle(tmp_path / f"c{number}", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:

        async def run(number: int) -> int:
            directory = tmp_path / f"c{number}"
            fifos = Fifos(directory)
            code = await shim.run(f"c{number}", directory, fifos)
            assert fifos.output() == ("hello\n", "")
            assert fifos.at_end()
            fifos.close()
            return code

        assert await run(0) == 0
        before = descriptors(shim.pid)
        for batch in range(1, 40, 13):
            assert await asyncio.gather(*(run(number) for number in range(batch, batch + 13))) == [0] * 13
        assert descriptors(shim.pid) == before
        assert not processes(shim.pid)
        assert not cgroups_of(tmp_path)


async def test_a_rootfs_of_mounts_is_seen_by_the_container_only(tmp_path, guests):
    image = make_bundle(tmp_path / "image", module=guests / "tool.wasm") / "rootfs"
    (image / "dev").mkdir()
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "ls", "/")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        code = await shim.run("c1", bundle, fifos, rootfs=[mount(image, "ro")])
        assert code == 0
        assert sorted(fifos.output()[0].split()) == ["app.wasm", "dev"]
        fifos.close()
        assert os.listdir(bundle / "rootfs") == []
        assert str(bundle) not in _read("/proc/mounts")


async def test_shutdown_waits_for_the_last_container_and_removes_the_socket(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.call("Shutdown", api.ShutdownRequest(id="pod"))
        assert (await shim.state("c1")).status == types_pb2.CREATED
        await shim.delete("c1")
        await shim.call("Shutdown", api.ShutdownRequest(id="pod"))
        assert not os.path.exists(shim.address)
        await _gone(shim.pid)


async def test_a_second_start_of_the_group_finds_the_daemon(tmp_path):
    async with running_shim(tmp_path) as shim:
        bundle = tmp_path / "second"
        bundle.mkdir()
        (bundle / "config.json").write_text('{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}')
        env = {"PELAGOS_SOCKET_DIR": os.path.dirname(shim.address)}
        done = shim_command(*flags(tmp_path, "other"), "start", cwd=bundle, env=env)
        assert done.stdout.decode() == f"unix://{shim.address}"
        assert (bundle / "address").read_text() == f"unix://{shim.address}"


async def test_the_socket_is_for_root_alone(tmp_path):
    async with running_shim(tmp_path) as shim:
        status = os.stat(shim.address)
        assert (status.st_mode & 0o777, status.st_uid) == (0o600, 0)
        os.chmod(shim.address, 0o777)
        os.chmod(os.path.dirname(shim.address), 0o711)
        pid = os.fork()
        if pid == 0:
            os._exit(_refused_as(65534, shim.address))
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def _refused_as(uid: int, path: str) -> int:
    """In a child: 0 if another user's connection is closed without an answer."""
    import socket

    os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(path)
        try:
            return 0 if sock.recv(1) == b"" else 1
        except ConnectionResetError:
            return 0


async def test_containers_of_a_killed_shim_die_and_delete_cleans_up(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        await shim.start("c1")
        os.kill(shim.pid, signal.SIGKILL)
        await _gone(pid)
        assert cgroups_of(tmp_path)
        for _ in range(2):  # twice: it must be idempotent
            done = shim_command(*flags(tmp_path, "c1"), "-bundle", str(bundle), "delete", cwd=bundle)
            assert done.returncode == 0
            assert done.stderr == b""
            answer = api.DeleteResponse.FromString(done.stdout)
            assert answer.exit_status == 137
            assert abs(answer.exited_at.seconds - time.time()) < 10
        assert not cgroups_of(tmp_path)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda bundle: (bundle / "config.json").unlink(), NotFound, "has no config.json"),
        (lambda bundle: (bundle / "config.json").write_text("{"), InvalidArgument, "not JSON"),
        (
            lambda bundle: change_config(bundle, process={"args": [], "cwd": "/"}),
            InvalidArgument,
            "process.args: empty",
        ),
        (lambda bundle: change_config(bundle, process=None), InvalidArgument, "process: missing"),
        (lambda bundle: change_config(bundle, process={"args": ["/a\0b"]}), InvalidArgument, "holds a NUL byte"),
        (lambda bundle: change_config(bundle, root={"path": "../x"}), InvalidArgument, r"contains '\.\.'"),
        (lambda bundle: change_config(bundle, root={"path": "nowhere"}), NotFound, "nowhere.* does not exist"),
        (lambda bundle: change_config(bundle, root={"path": "config.json"}), InvalidArgument, "not a directory"),
        (lambda bundle: (bundle / "rootfs/app.wasm").unlink(), NotFound, "'/app.wasm'"),
        (
            lambda bundle: (bundle / "rootfs/app.wasm").write_bytes(b""),
            InvalidArgument,
            "'/app.wasm' .file of unknown kind.: exec format error",
        ),
        (lambda bundle: (bundle / "rootfs/app.wasm").write_text("hi"), InvalidArgument, "is not WebAssembly"),
        (lambda bundle: _truncate(bundle / "rootfs/app.wasm"), InvalidArgument, "not valid WebAssembly"),
        (
            lambda bundle: _replace_by_directory(bundle / "rootfs/app.wasm"),
            InvalidArgument,
            "is a directory: permission denied",
        ),
        (
            lambda bundle: change_config(bundle, annotations={"io.pelagos.wasm.runtime": "none-such"}),
            NotFound,
            "backend 'none-such', asked for by .*, is not installed .installed: .*wasmtime",
        ),
        (lambda bundle: change_config(bundle, linux={"cgroupsPath": "/../x"}), InvalidArgument, r"contains '\.\.'"),
    ],
)
async def test_a_bad_bundle_is_refused_by_name_and_leaves_nothing(tmp_path, guests, damage, error, message):
    bad = make_bundle(tmp_path / "bad", module=guests / "tool.wasm")
    good = make_bundle(tmp_path / "good", module=guests / "hello.wasm")
    damage(bad)
    async with running_shim(tmp_path) as shim:
        before = descriptors(shim.pid)
        with pytest.raises(error, match=f"container 'bad'.*{message}"):
            await shim.create("bad", bad)
        assert not processes(shim.pid)
        assert descriptors(shim.pid) == before
        assert not cgroups_of(tmp_path)
        with pytest.raises(NotFound):
            await shim.state("bad")
        assert await shim.run("good", good) == 0


async def test_a_full_disk_fails_create_and_leaves_nothing(tmp_path, guests):
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "small"], check=True)
    try:
        bundle = make_bundle(tmp_path / "small/c1", module=guests / "hello.wasm")
        with contextlib.suppress(OSError):
            (bundle / "filler").write_bytes(bytes(1 << 20))
        async with running_shim(tmp_path) as shim:
            with pytest.raises(PelagosError, match=r"cannot write pelagos\.record: No space left"):
                await shim.create("c1", bundle)
            assert not processes(shim.pid)
            assert not cgroups_of(tmp_path / "small")
            (bundle / "filler").unlink()
            assert await shim.run("c1", bundle) == 0
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)


async def test_an_unknown_import_fails_create_and_names_it(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "unknown_import.wasm")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(InvalidArgument, match="unknown import: nobody::has_this"):
            await shim.create("c1", bundle)


@pytest.mark.parametrize("container_id", ["", "a/b", "..", "../x", "a\0b", "x" * 77, ".hidden", "a b"])
async def test_an_id_that_is_no_identifier_is_refused(tmp_path, container_id):
    async with running_shim(tmp_path) as shim:
        with pytest.raises(InvalidArgument, match="container id"):
            await shim.create(container_id, tmp_path)


async def test_a_symlink_out_of_the_rootfs_reaches_nothing_of_the_host(tmp_path, guests):
    (tmp_path / "secret.wasm").write_bytes((guests / "hello.wasm").read_bytes())
    async with running_shim(tmp_path) as shim:
        for number, target in enumerate(
            [tmp_path / "secret.wasm", "../../secret.wasm", "/proc/self/exe", "/etc/passwd"]
        ):
            bundle = make_bundle(tmp_path / f"c{number}")
            os.symlink(target, bundle / "rootfs/app.wasm")
            with pytest.raises(PelagosError, match=r"app\.wasm") as refused:
                await shim.create(f"c{number}", bundle)
            assert isinstance(refused.value, NotFound)


async def test_the_process_of_a_guest_has_nothing_of_the_shim(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        pid = await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        await until(lambda: os.readlink(f"/proc/{pid}/fd/1") == fifos.stdout)
        targets = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert targets.pop("0") == "/dev/null"
        assert targets.pop("1") == fifos.stdout
        assert targets.pop("2") == fifos.stderr
        # What the engine itself has opened: the guest's directory, and the code that it maps.
        assert all(target in ("/", "/code") or target.startswith("anon_inode:") for target in targets.values()), targets
        status = _read(f"/proc/{pid}/status")
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status
        own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "mnt", "ipc", "uts", "net")}
        assert not {k: v for k, v in own.items() if os.readlink(f"/proc/{pid}/ns/{k}") == v}
        assert all(
            line.split(":")[2].startswith("/pelagos/c1-")
            for line in _read(f"/proc/{pid}/cgroup").splitlines()
            if not line.startswith("0:")
        )
        fifos.close()


def _truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def _replace_by_directory(path):
    path.unlink()
    path.mkdir()


def _read(path):
    with open(path) as file:
        return file.read()


async def _gone(pid):
    await until(lambda: not alive(pid))
