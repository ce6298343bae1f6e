"""One shim for a long time, and at bad times: races by the hundred, a thousand containers, a deaf containerd."""

import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest

from pelagos_core.errors import FailedPrecondition, NotFound, PelagosError
from tests.support.bundles import Fifos, make_bundle
from tests.support.event_order import violation
from tests.support.patience import until
from tests.support.shim import running_shim
from tests.support.traces import cgroups_of, descriptors, processes

pytestmark = [pytest.mark.root, pytest.mark.guests, pytest.mark.slow]

LOOPS = 500
AT_ONCE = 4


async def in_turns(count, run):
    """Run it with each number, a few at once."""
    for batch in range(0, count, AT_ONCE):
        await asyncio.gather(*(run(number) for number in range(batch, min(batch + AT_ONCE, count))))


async def race(directory, module, once):
    """Do it with hundreds of containers of one shim, which are created for it and deleted by it.

    once: gets the shim, the container's name, its number and its pid. In the end the events of each
    have come, in order, and there is no process or group.
    """
    image = make_bundle(directory / "image", module=module)
    async with running_shim(directory) as shim:

        async def run(number):
            name = f"c{number}"
            pid = await shim.create(name, bundle_like(image, directory / name))
            await once(shim, name, number, pid)

        await in_turns(LOOPS, run)
        await shim.events.seen(lambda told: [topic for topic, _, _ in told].count("delete") == LOOPS)
        assert not violation(shim.events.told())
        assert len([name for topic, name, exec_id in shim.events.told() if topic == "exit" and not exec_id]) == LOOPS
        assert processes(shim.pid) == []
        assert not cgroups_of(directory)


@pytest.mark.timeout(300)
async def test_a_guest_that_ends_before_start_returns_has_a_pid_and_its_events_in_order(tmp_path, guests):
    async def once(shim, name, _number, created):
        waits = [asyncio.ensure_future(shim.wait(name)) for _ in range(2)]
        assert await shim.start(name) == created > 0
        told = [*await asyncio.gather(*waits), await shim.wait(name)]
        assert [(answer.exit_status, answer.exited_at) for answer in told] == [(7, told[0].exited_at)] * 3
        await shim.delete(name)

    await race(tmp_path, guests / "exit7.wasm", once)


@pytest.mark.timeout(300)
async def test_a_kill_between_create_and_start_is_never_a_hang(tmp_path, guests):
    async def once(shim, name, number, _pid):
        killing = asyncio.ensure_future(shim.kill(name, signal.SIGKILL))
        starting = asyncio.ensure_future(shim.start(name)) if number % 2 else None
        await killing
        if starting:
            with_refusal = await asyncio.gather(starting, return_exceptions=True)
            assert isinstance(with_refusal[0], int | FailedPrecondition)
        assert (await shim.wait(name)).exit_status == 137
        await shim.delete(name)

    await race(tmp_path, guests / "spin.wasm", once)


@pytest.mark.timeout(300)
async def test_a_kill_that_races_with_start_and_exit_is_one_of_the_three_and_reported_once(tmp_path, guests):
    async def once(shim, name, _number, _pid):
        waits = [asyncio.ensure_future(shim.wait(name)) for _ in range(2)]
        killing = asyncio.ensure_future(shim.kill(name, signal.SIGKILL))
        started = True
        try:
            await shim.start(name)
        except FailedPrecondition:
            started = False
        await asyncio.gather(killing, return_exceptions=True)
        (code,) = {(await wait).exit_status for wait in waits}
        assert code in ((7, 137) if started else (137,))
        await shim.delete(name)
        topics = ["/tasks/create", *(["/tasks/start"] if started else []), "/tasks/exit", "/tasks/delete"]
        await shim.events.until(name, *topics)

    await race(tmp_path, guests / "exit7.wasm", once)


@pytest.mark.timeout(300)
async def test_deletes_that_race_with_waits_and_each_other_answer_all(tmp_path, guests):
    async def once(shim, name, _number, _pid):
        waiting = asyncio.ensure_future(shim.wait(name))
        await shim.start(name)
        deletes = []
        while True:  # refused while it runs
            deletes = await asyncio.gather(*(shim.delete(name) for _ in range(2)), return_exceptions=True)
            if not all(isinstance(answer, FailedPrecondition) for answer in deletes):
                break
        assert (await waiting).exit_status == 7
        good = [answer for answer in deletes if not isinstance(answer, Exception)]
        assert [answer.exit_status for answer in good] in ([7], [])
        if not good:  # the first was refused, the second won
            assert any(isinstance(answer, NotFound) for answer in deletes)

    await race(tmp_path, guests / "exit7.wasm", once)


@pytest.mark.timeout(300)
async def test_an_exec_that_starts_while_the_container_ends_is_reported_before_it_or_refused(tmp_path, guests):
    """With each order of the calls: no event out of order, no call waits for ever, no process is left."""
    seconds = [0.02]  # that the last start took: the kill comes in each part of it, on a busy machine too

    async def once(shim, name, number, _pid):
        await shim.start(name)
        await shim.exec(name, "e1", "/app.wasm")
        waiting = [asyncio.ensure_future(shim.wait(name, exec_id)) for exec_id in ("e1", "")]
        before = time.monotonic()
        starting = asyncio.ensure_future(shim.start(name, "e1"))
        starting.add_done_callback(lambda _: seconds.append(time.monotonic() - before))
        await asyncio.wait({starting}, timeout=seconds[-1] * (number % 30) / 20)
        await shim.kill(name, signal.SIGKILL)
        with contextlib.suppress(PelagosError):
            await starting
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert outcomes[1].exit_status == 137
        await until(lambda: name in shim.events.ids_of_exits(name))
        exits = shim.events.ids_of_exits(name)
        assert exits in ([name], ["e1", name])
        assert ("/tasks/exec-started" in shim.events.of(name)) == (len(exits) == 2)
        await shim.delete(name)

    await race(tmp_path, guests / "spin.wasm", once)


@pytest.mark.timeout(300)
async def test_a_thousand_containers_leave_one_shim_as_it_was(tmp_path, guests):
    bundle = make_bundle(tmp_path / "image", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:

        async def run(number):
            assert await shim.run(f"c{number}", bundle_like(bundle, tmp_path / f"c{number}")) == 0

        measured = []
        for first, count in ((0, 100), (100, 900)):
            await in_turns(count, lambda number, first=first: run(first + number))
            with open(f"/proc/{shim.pid}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            measured.append((descriptors(shim.pid), status["Threads"].strip(), int(status["VmRSS"].split()[0])))
        (early, threads, before), (late, _, after) = measured
        assert early == late
        assert threads == "1"
        assert after < before * 1.1, f"{before} KiB, then {after} KiB"
        assert processes(shim.pid) == []


async def test_events_wait_for_a_containerd_that_is_away_and_none_is_lost_or_doubled(tmp_path, guests):
    bundle = make_bundle(tmp_path / "image", module=guests / "exit7.wasm")
    path = tmp_path / "elsewhere.sock"  # where no process listens yet
    async with running_shim(tmp_path, env={"TTRPC_ADDRESS": str(path)}) as shim:
        for number in range(5):
            assert await shim.run(f"c{number}", bundle_like(bundle, tmp_path / f"c{number}")) == 7
        assert shim.events.told() == []
        before = _cpu_ticks(shim.pid)
        await asyncio.sleep(2)
        assert _cpu_ticks(shim.pid) - before < 20  # hundredths of a second: it does not spin
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        server = shim.events.server()
        server.start(listener)
        told = await shim.events.count(20)
        await server.close(1)
        assert not violation(told)
        assert len(told) == 20
        assert [name for topic, name, _ in told if topic == "exit"] == [f"c{number}" for number in range(5)]


async def test_a_shim_that_was_stopped_has_lost_nothing(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        pid = await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        os.kill(shim.pid, signal.SIGSTOP)
        try:
            calls = [asyncio.ensure_future(call) for call in (shim.state("c1"), shim.wait("c1"))]
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.2)
            assert not any(call.done() for call in calls)
        finally:
            os.kill(shim.pid, signal.SIGCONT)
        assert (await calls[0]).pid == pid
        assert (await calls[1]).exit_status == 137
        await shim.events.until("c1", "/tasks/create", "/tasks/start", "/tasks/exit")
        fifos.close()


def bundle_like(image, directory):
    """Another bundle of the same files."""
    directory.mkdir()
    (directory / "config.json").write_bytes((image / "config.json").read_bytes())
    os.symlink(image / "rootfs", directory / "rootfs")
    return directory


def _cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
