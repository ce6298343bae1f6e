"""Compiled code from a compile service that the daemon forks: whatever happens, it is reaped."""

import asyncio
import os

import pytest

from pelagos_core.launch import compilation
from pelagos_core.linux import child
from tests.support import code, compiling
from tests.support.patience import until
from tests.support.traces import children

pytestmark = [pytest.mark.root]


def compile(entrypoint):
    return b"code of " + entrypoint.read()


@pytest.fixture
def asked(tmp_path):
    made = compiling.request(tmp_path, compile)
    yield made
    os.close(made.file)


async def test_code_is_made_and_its_compile_service_is_gone(asked):
    before = children(os.getpid())
    assert code.read((await compilation._compile(asked))[0]) == b"code of " + compiling.MODULE
    assert children(os.getpid()) == before


@pytest.mark.parametrize("wait", [1, 2])
async def test_a_cancelled_task_leaves_neither_a_compile_service_nor_a_descriptor(asked, monkeypatch, wait):
    """While the compile service works, and while it is ended after its answer."""
    before = children(os.getpid())
    waits = 0
    readable = compilation.readable

    async def readable_or_cancelled(fd):
        nonlocal waits
        waits += 1
        if waits == wait:
            making.cancel()
        await readable(fd)

    for module in (compilation, child):
        monkeypatch.setattr(module, "readable", readable_or_cancelled)
    making = asyncio.ensure_future(compilation._compile(asked))
    with pytest.raises(asyncio.CancelledError):
        await making
    await until(lambda: children(os.getpid()) == before)
