"""Tests of containerd's calls for a running container: execs, pause and resume, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from pelagos_core.conformance import modules
from pelagos_core.conformance.pod import Pod, pod
from pelagos_core.errors import PelagosError

feature = pytest.mark.feature
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")

_FILES = {
    "waits.wasm": modules.WAITS,
    "args.wasm": modules.ARGUMENTS,
    "five.wasm": modules.leaves(5),
    "traps.wasm": modules.TRAPS["unreachable"],
    "spins.wasm": modules.SPINS,
    "bad.wasm": modules.UNKNOWN_IMPORT,
}


def _in_a_pod(directory: Path, backend: str, session: Callable[[Pod], Coroutine[None, None, None]]) -> None:
    """Start a container whose process waits for input, and run `session` with it."""

    async def run() -> None:
        async with pod(directory, backend) as made:
            await made.create(_FILES, "/waits.wasm")
            await made.start()
            assert await made.read(6) == b"ready\n"
            await session(made)

    asyncio.run(run())


@feature("exec: further processes")
@needs_root
def test_execs_run_modules_of_the_container(tmp_path: Path, backend: str) -> None:
    async def session(made: Pod) -> None:
        await made.exec("args", "/args.wasm", "a", "two words")
        assert await made.ended("args") == 0
        assert (await made.read(23, "args", 2)).split(b"\0")[1:] == [b"a", b"two words", b""]
        for name, code in (("five", 5), ("traps", 134)):
            await made.exec(name, f"/{name}.wasm")
            assert await made.ended(name) == code
        with pytest.raises(PelagosError, match="has_this"):
            await made.exec("bad", "/bad.wasm")
        made.write(b"still here")
        assert await made.read(10) == b"still here"

    _in_a_pod(tmp_path, backend, session)


@feature("exec: further processes")
@needs_root
def test_a_signal_ends_only_the_process_that_it_is_sent_to(tmp_path: Path, backend: str) -> None:
    async def session(made: Pod) -> None:
        await made.exec("spins", "/spins.wasm")
        assert await made.read(6, "spins") == b"ready\n"
        await made.kill(signal.SIGTERM, "spins")
        assert await made.ended("spins") == 128 + signal.SIGTERM
        made.write(b"still here")
        assert await made.read(10) == b"still here"
        await made.kill(signal.SIGTERM)
        assert await made.ended() == 128 + signal.SIGTERM

    _in_a_pod(tmp_path, backend, session)


@feature("pause and resume")
@needs_root
def test_a_paused_guest_does_not_run_until_it_is_resumed(tmp_path: Path, backend: str) -> None:
    async def session(made: Pod) -> None:
        try:
            await made.pause()
        except PelagosError as error:
            pytest.skip(f"not run: {error}")  # a host without control groups
        made.write(b"paused")
        assert await made.read(6, seconds=0.5) == b""
        await made.resume()
        assert await made.read(6) == b"paused"

    _in_a_pod(tmp_path, backend, session)


@feature("a policy: directories, variables, input, a deadline")
@needs_root
def test_a_guest_gets_no_input_if_a_policy_forbids_it(tmp_path: Path, backend: str) -> None:
    async def run() -> None:
        async with pod(tmp_path, backend) as made:
            await made.create(_FILES, "/waits.wasm", stdin="none")
            made.write(b"input")
            await made.start()
            assert await made.ended() == 0
            assert await made.read(20, seconds=1) == b"ready\n"

    asyncio.run(run())
