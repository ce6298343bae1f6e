"""The daemon's own hooks: it goes on meanwhile, and leaves none behind."""

import asyncio
import os

import pytest

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.launch import runtime_hooks
from pelagos_core.oci import Hook, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from tests.support.traces import children


@pytest.fixture
def bundle(tmp_path):
    return Bundle("c1", "ns", str(tmp_path), Spec(process=Process(args=("/x",))), ())


def hook(line, timeout=None):
    return Hook("poststart[0]", "/bin/sh", ("sh", "-c", line), (), timeout)


async def test_hooks_are_run_one_after_the_other_in_the_bundle(bundle):
    await runtime_hooks.run([hook("echo 1 >> said"), hook("echo 2 >> said")], bundle, "running", 7)
    with open(f"{bundle.path}/said") as file:
        assert file.read() == "1\n2\n"


async def test_the_loop_goes_on_while_one_runs(bundle):
    running = asyncio.ensure_future(runtime_hooks.run([hook("while ! [ -e go ]; do sleep 0.01; done")], bundle, "x", 7))
    await asyncio.sleep(0.02)
    assert not running.done()
    open(f"{bundle.path}/go", "w").close()
    await asyncio.wait_for(running, 20)


async def test_a_failure_names_the_container_and_keeps_its_reason(bundle):
    with pytest.raises(FailedPrecondition, match=r"container 'c1': hook poststart\[0\] .* exit code 2") as raised:
        await runtime_hooks.run([hook("exit 2")], bundle, "running", 7)
    assert raised.value.reason == reasons.HOOK


async def test_one_that_is_late_or_not_waited_for_any_more_is_ended(bundle):
    before = children(os.getpid())
    with pytest.raises(FailedPrecondition, match=r"has not ended after 0\.01 s"):
        await runtime_hooks.run([hook("sleep 60", timeout=0.01)], bundle, "running", 7)
    running = asyncio.ensure_future(runtime_hooks.run([hook("sleep 60")], bundle, "running", 7))
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})
    assert children(os.getpid()) == before
