"""Further processes in a running container: `ctr task exec`, over ttrpc."""

import asyncio
import contextlib
import os
import re
import signal
import stat
from pathlib import Path

import pytest

from pelagos_core.api import types_pb2
from pelagos_core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from pelagos_core.shim import record
from scripts import engines
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import native_bundle, shell
from tests.support.patience import until
from tests.support.shim import flags, running_shim, shim_command
from tests.support.traces import alive, children

pytestmark = [pytest.mark.root, pytest.mark.guests]

ADDED, STARTED, EXIT = "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"


def spinning(directory, guests):
    """A bundle whose guest runs until it is killed, with every test program in its root."""
    bundle = make_bundle(directory, module=guests / "spin.wasm")
    for program in guests.glob("*.wa*"):
        (bundle / "rootfs" / program.name).write_bytes(program.read_bytes())
    return bundle


async def running(shim, directory, guests, container_id="c1"):
    bundle = spinning(directory / container_id, guests)
    pid = await shim.create(container_id, bundle)
    await shim.start(container_id)
    return pid


def streams(directory, name="exec", **kinds):
    (directory / name).mkdir()
    return Fifos(directory / name, **kinds)


async def test_an_exec_goes_through_its_life_beside_the_init_process(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        init = await running(shim, tmp_path, guests)
        fifos = streams(tmp_path)
        await shim.exec("c1", "e1", "/tool.wasm", "args", "a b", fifos=fifos)
        state = await shim.state("c1", "e1")
        assert (state.status, state.pid, state.id, state.exec_id) == (types_pb2.CREATED, 0, "c1", "e1")
        assert (state.stdout, state.terminal) == (fifos.stdout, False)
        waiting = asyncio.ensure_future(shim.wait("c1", "e1"))
        pid = await shim.start("c1", "e1")
        assert pid not in (0, init)
        assert (await waiting).exit_status == 0
        assert fifos.output() == ("/tool.wasm\nargs\na b\n", "")
        assert fifos.at_end()
        state = await shim.state("c1", "e1")
        assert (state.status, state.pid, state.exit_status) == (types_pb2.STOPPED, pid, 0)
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        deleted = await shim.delete("c1", "e1")
        assert (deleted.pid, deleted.exit_status, deleted.exited_at) == (pid, 0, state.exited_at)
        with pytest.raises(NotFound, match="container 'c1' has no process 'e1'"):
            await shim.state("c1", "e1")
        await shim.events.until("c1", "/tasks/create", "/tasks/start", ADDED, STARTED, EXIT)
        assert shim.events.exit("c1", "e1").pid == pid
        fifos.close()


async def test_an_exec_has_its_own_words_and_the_containers_files_and_namespaces(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        init = await running(shim, tmp_path, guests)
        fifos = streams(tmp_path)
        await shim.exec("c1", "e1", "/tool.wasm", "env", fifos=fifos, env=["ONLY=this"], cwd="/dev")
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 0
        assert fifos.output()[0] == "ONLY=this\nPWD=/dev\n"
        await shim.exec("c1", "e2", "/spin.wasm", user={"uid": 1000, "gid": 1001, "additionalGids": [7]})
        pid = await shim.start("c1", "e2")
        for kind in ("mnt", "pid", "ipc", "uts", "net", "cgroup"):
            assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{init}/ns/{kind}"), kind
        assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{init}/cgroup").read_text()
        facts = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert (facts["Uid"].split(), facts["Gid"].split()) == (["1000"] * 4, ["1001"] * 4)
        assert (facts["Groups"].split(), facts["NoNewPrivs"], facts["CapEff"]) == (["7"], "1", "0" * 16)
        fifos.close()


async def test_an_exec_holds_nothing_but_its_streams(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        await shim.exec("c1", "e1", "/spin.wasm")
        pid = await shim.start("c1", "e1")
        # its socket to the daemon is closed a moment after Start is answered
        # `/` is the directory that the engine has opened for the guest, `/code` what it maps
        await until(lambda: _open_files(pid) == {"/dev/null", "/", "/code"})
        assert {os.readlink(f"/proc/{pid}/{link}") for link in ("root", "cwd")} == {"/"}


async def test_another_function_of_the_module_and_a_trap(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        await shim.exec("c1", "five", "/functions.wasm#five")
        await shim.start("c1", "five")
        assert (await shim.wait("c1", "five")).exit_status == 5
        fifos = streams(tmp_path)
        await shim.exec("c1", "trap", "/trap.wasm", fifos=fifos)
        await shim.start("c1", "trap")
        assert (await shim.wait("c1", "trap")).exit_status == 134
        assert "unreachable" in fifos.output()[1]
        assert (await shim.state("c1")).status == types_pb2.RUNNING
        fifos.close()


async def test_what_is_asked_at_the_wrong_time_is_refused(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        for ask in (shim.start, shim.state, shim.wait, shim.delete):
            with pytest.raises(NotFound, match="container 'c1' has no process 'e1'"):
                await ask("c1", "e1")
        await shim.exec("c1", "e1", "/spin.wasm")
        with pytest.raises(AlreadyExists, match="process 'e1' already exists"):
            await shim.exec("c1", "e1", "/spin.wasm")
        with pytest.raises(FailedPrecondition, match="exec 'e1' of container 'c1': cannot kill, it is added"):
            await shim.kill("c1", 9, "e1")
        await shim.start("c1", "e1")
        with pytest.raises(FailedPrecondition, match="cannot be started, it is running"):
            await shim.start("c1", "e1")
        with pytest.raises(FailedPrecondition, match="cannot delete, it is running"):
            await shim.delete("c1", "e1")
        await shim.kill("c1", 15, "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 143
        with pytest.raises(NotFound, match="cannot kill, it is stopped"):
            await shim.kill("c1", 9, "e1")
        await shim.delete("c1", "e1")
        await shim.exec("c1", "e1", "/exit7.wasm")  # the id is free again
        never = asyncio.ensure_future(shim.wait("c1", "e1"))
        await shim.state("c1", "e1")
        assert (await shim.delete("c1", "e1")).pid == 0
        with pytest.raises(NotFound, match="exec 'e1' of container 'c1' was never started"):
            await never


async def test_a_container_that_waits_for_its_start_can_be_entered_and_one_that_ended_cannot(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", spinning(tmp_path / "c1", guests))
        await shim.exec("c1", "e1", "/exit7.wasm")
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 7
        await shim.exec("c1", "late", "/exit7.wasm")
        await shim.kill("c1", 9)
        await shim.wait("c1")
        with pytest.raises(FailedPrecondition, match="container 'c1': cannot exec, it is stopped"):
            await shim.start("c1", "late")
        with pytest.raises(FailedPrecondition, match="container 'c1': cannot exec, it is stopped"):
            await shim.exec("c1", "e2", "/exit7.wasm")


@pytest.mark.parametrize(
    ("process", "error", "message"),
    [
        ({"args": ["/none.wasm"]}, NotFound, "entry point '/none.wasm': no such file"),
        ({"args": ["/unknown_import.wasm"]}, InvalidArgument, "unknown import"),
        ({"args": ["/exit7.wasm"], "cwd": "/none"}, NotFound, "working directory '/none' in the container"),
        ({"args": ["/tool.wasm#none"]}, InvalidArgument, "exports no function 'none'"),
    ],
)
async def test_a_failed_start_says_why_and_ends_pending_waits(tmp_path, guests, process, error, message):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        await shim.exec("c1", "e1", *process.pop("args"), **process)
        waiting = asyncio.ensure_future(shim.wait("c1", "e1"))
        with pytest.raises(error, match=f"exec 'e1' of container 'c1': .*{message}"):
            await shim.start("c1", "e1")
        assert (await asyncio.wait_for(waiting, 5)).exit_status == 255
        assert (await shim.state("c1", "e1")).status == types_pb2.STOPPED
        await shim.delete("c1", "e1")
        await shim.events.until("c1", "/tasks/create", "/tasks/start", ADDED)
        assert (await shim.state("c1")).status == types_pb2.RUNNING


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": []}, "process: args: empty"),
        ({"args": [1]}, r"process: args\[0\]: not a string"),
        ({"cwd": "x"}, "process: cwd: 'x' is not absolute"),
        ({"user": {"uid": -1}}, "process: user.uid: -1"),
    ],
)
async def test_a_malformed_process_is_refused_by_the_field(tmp_path, guests, fields, message):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        with pytest.raises(InvalidArgument, match=f"exec 'e1' of container 'c1': {message}"):
            await shim.exec("c1", "e1", *(), **{"args": ["/exit7.wasm"], **fields})
        with pytest.raises(InvalidArgument):
            await shim.exec("c1", "../e", "/exit7.wasm")


@pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
async def test_when_the_init_process_ends_its_execs_are_killed_and_reported_first(tmp_path, guests, private):
    bundle = spinning(tmp_path / "c1", guests)
    kinds = ("pid", "mount") if private else ("mount",)
    change_config(bundle, linux={"namespaces": [{"type": kind} for kind in kinds]})
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for name in ("e1", "e2"):
            await shim.exec("c1", name, "/spin.wasm")
            await shim.start("c1", name)
        waiting = [asyncio.ensure_future(shim.wait("c1", name)) for name in ("e1", "e2", "")]
        await shim.kill("c1", 15)
        statuses = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert [status.exit_status for status in statuses] == [137, 137, 143]
        order = ["/tasks/create", "/tasks/start", *[ADDED, STARTED] * 2, EXIT, EXIT, EXIT]
        await shim.events.until("c1", *order)
        assert shim.events.ids_of_exits("c1")[-1] == "c1"
        await shim.delete("c1")
        await shim.call("Connect")


async def test_kill_all_reaches_the_execs(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        await shim.exec("c1", "e1", "/spin.wasm")
        await shim.start("c1", "e1")
        waiting = asyncio.ensure_future(shim.wait("c1", "e1"))
        await shim.kill("c1", signal.SIGTERM, everything=True)
        assert (await waiting).exit_status in (137, 143)  # the end of the init process may be quicker
        assert (await shim.wait("c1")).exit_status == 143


async def test_input_and_its_end_reach_an_exec(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)
        fifos = streams(tmp_path, stdin=True)
        await shim.exec("c1", "e1", "/tool.wasm", "cat", fifos=fifos)
        await shim.start("c1", "e1")
        writer = os.open(fifos.stdin, os.O_WRONLY)
        os.write(writer, b"typed")
        os.close(writer)
        await shim.close_io("c1", "e1")
        assert (await asyncio.wait_for(shim.wait("c1", "e1"), 10)).exit_status == 0
        assert fifos.output()[0] == "typed"
        fifos.close()


async def test_the_record_names_the_execs_that_live(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        init = await running(shim, tmp_path, guests)
        await shim.exec("c1", "e1", "/spin.wasm")
        pid = await shim.start("c1", "e1")
        for number in range(3):
            await shim.exec("c1", f"quick{number}", "/exit7.wasm")
            await shim.start("c1", f"quick{number}")
            await shim.wait("c1", f"quick{number}")
        _, processes, first = record.read(str(tmp_path / "c1"))
        assert [number for number, _ in processes] == [init, pid]
        assert first == init
        assert stat.S_IMODE(os.stat(tmp_path / "c1" / record.NAME).st_mode) == 0o600
        # the daemon is killed: the kernel ends its children, and `delete` finds no process
        os.kill(shim.pid, signal.SIGKILL)
        done = await asyncio.to_thread(
            shim_command, *flags(tmp_path, "c1"), "-bundle", str(tmp_path / "c1"), "delete", cwd=tmp_path / "c1"
        )
        assert done.returncode == 0, done.stderr
        for gone in (init, pid):
            await until(lambda pid=gone: not alive(pid))


async def test_a_native_program_joins_a_native_container_itself(tmp_path):
    async with running_shim(tmp_path) as shim:
        init = await shim.create("c1", shell(tmp_path / "c1", "export SECRET=x; sleep 1000"))
        await shim.start("c1")
        fifos = streams(tmp_path)
        script = "echo $A $$ $(pwd); tr '\\0' ' ' < /proc/1/cmdline; readlink /proc/self/ns/mnt; exit 3"
        await shim.exec("c1", "e1", "sh", "-c", script, fifos=fifos, cwd="/usr", env=["PATH=/usr/bin:/bin", "A=b"])
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 3
        out, err = fifos.output()
        lines = out.splitlines()
        assert err == ""
        assert re.fullmatch(r"b \d+ /usr", lines[0])
        assert lines[1].startswith("/bin/sh -c export SECRET")
        assert lines[1].endswith(os.readlink(f"/proc/{init}/ns/mnt"))
        fifos.close()


async def test_signals_reach_a_native_exec(tmp_path):
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", shell(tmp_path / "c1", "sleep 1000"))
        await shim.start("c1")
        fifos = streams(tmp_path)
        script = "trap 'echo told; exit 4' TERM; echo ready; while :; do sleep 0.1; done"
        await shim.exec("c1", "e1", "sh", "-c", script, fifos=fifos)
        await shim.start("c1", "e1")
        await until(lambda: fifos.output()[0] == "ready\n")
        await shim.kill("c1", signal.SIGTERM, "e1")
        assert (await asyncio.wait_for(shim.wait("c1", "e1"), 10)).exit_status == 4
        assert fifos.output()[0] == "told\n"
        fifos.close()


async def test_a_native_program_in_a_container_of_a_guest_gets_what_the_guest_must_not_have(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        bundle = native_bundle(tmp_path / "c1", "/spin.wasm")
        for name in ("spin", "tool"):
            (bundle / f"rootfs/{name}.wasm").write_bytes((guests / f"{name}.wasm").read_bytes())
        await shim.create("c1", bundle)
        await shim.start("c1")
        fifos = streams(tmp_path)
        script = "echo $$ | tee /dev/null; cat /proc/self/comm; ls /dev; echo shared > /dev/shm/file; stat -c %a /note"
        (bundle / "rootfs/note").touch(0o600)
        for _ in range(2):  # what the first has made is there for the second
            await shim.exec("c1", "e1", "/bin/sh", "-c", script, fifos=fifos)
            await shim.start("c1", "e1")
            assert (await shim.wait("c1", "e1")).exit_status == 0
            await shim.delete("c1", "e1")
            out, err = fifos.output()
            assert (out.splitlines()[1], out.splitlines()[-1], err) == ("cat", "600", "")
            assert {"null", "pts", "shm", "fd"} <= set(out.splitlines())
        # the guest's own container has not changed: it sees the shared file, and no /proc
        await shim.exec("c1", "e2", "/tool.wasm", "read", "/dev/shm/file", fifos=fifos)
        await shim.start("c1", "e2")
        assert (await shim.wait("c1", "e2")).exit_status == 0
        assert fifos.output()[0] == "shared\n"
        for what, path in (("ls", "/proc"), ("read", "/dev/tty")):  # where a device is mounted is nothing to read
            await shim.exec("c1", what, "/tool.wasm", what, path, fifos=fifos)
            await shim.start("c1", what)
            await asyncio.wait_for(shim.wait("c1", what), 10)
            assert fifos.output()[0] == ""
        fifos.close()


async def test_a_guest_in_a_native_container_reaches_no_kernel_files_and_no_devices(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        bundle = shell(tmp_path / "c1", "sleep 1000")
        (bundle / "rootfs/tool.wasm").write_bytes((guests / "tool.wasm").read_bytes())
        init = await shim.create("c1", bundle)
        await shim.start("c1")
        assert os.path.exists(f"/proc/{init}/root/proc/1/mem")
        fifos = streams(tmp_path)
        for number, path in enumerate(("/proc", "/sys", "/dev/pts", "/dev/mqueue")):
            await shim.exec("c1", f"e{number}", "/tool.wasm", "ls", path, fifos=fifos)
            await shim.start("c1", f"e{number}")
            await shim.wait("c1", f"e{number}")
            assert fifos.output()[0] == "", path
        await shim.exec("c1", "zero", "/tool.wasm", "read", "/dev/zero", fifos=fifos)
        await shim.start("c1", "zero")
        assert (await shim.wait("c1", "zero")).exit_status == 1
        assert "/dev/zero" in fifos.output()[1]
        fifos.close()


@pytest.mark.engines
@pytest.mark.parametrize("name", ["wasmedge", "wasmer"])
async def test_programs_and_embedded_engines_join_a_container_in_an_engine_root(tmp_path, guests, name):
    (tmp_path / "config.toml").write_text(f'order = ["{name}"]\n{engines.config()}')
    bundle = spinning(tmp_path / "c1", guests)
    (bundle / "rootfs/note").write_text("in the root\n")
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(tmp_path / "config.toml")}) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        fifos = streams(tmp_path)
        await shim.exec("c1", "same", "/tool.wasm", "read", "/note", fifos=fifos)
        await shim.start("c1", "same")
        assert (await asyncio.wait_for(shim.wait("c1", "same"), 60)).exit_status == 0
        assert fifos.output()[0] == "in the root\n"
        # only Wasmtime runs components: the container's own backend cannot, so another one does
        await shim.exec("c1", "other", "/component.wasm", fifos=fifos)
        await shim.start("c1", "other")
        assert (await shim.wait("c1", "other")).exit_status == 0
        assert fifos.output()[0] == "hello from a component\n"
        fifos.close()


def _open_files(pid):
    with contextlib.suppress(OSError):
        return {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return None


async def test_many_execs_leave_nothing_in_the_daemon(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        await running(shim, tmp_path, guests)

        async def probe(name):
            await shim.exec("c1", name, "/exit7.wasm")
            await shim.start("c1", name)
            assert (await shim.wait("c1", name)).exit_status == 7
            await shim.delete("c1", name)

        await probe("first")
        files = set(_open_files_of(shim.pid))
        size = (tmp_path / "c1" / record.NAME).stat().st_size
        for number in range(40):
            await probe(f"e{number % 2}")
        await asyncio.gather(*(probe(f"at-once{number}") for number in range(10)))
        await until(lambda: set(_open_files_of(shim.pid)) <= files)
        assert (tmp_path / "c1" / record.NAME).stat().st_size == size
        await until(lambda: all(alive(pid) for pid in children(shim.pid)))


def _open_files_of(pid):
    """The daemon's descriptors, by number and target, except the short-lived ones."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append((path.name, re.sub(r"\d+", "", os.readlink(path))))
    return found
