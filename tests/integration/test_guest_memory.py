"""How much of its container's memory a guest gets: when a growth fails, when it is killed, and what Update changes."""

import asyncio
import contextlib
import re

import pytest
import wasmtime

from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument
from tests.integration.test_live_control import limit, stats, update
from tests.integration.test_resources import limited
from tests.integration.test_user_namespaces import mapped
from tests.integration.test_user_namespaces import run as run_mapped
from tests.support import forms
from tests.support.bundles import CONFIG, Fifos, change_config, make_bundle
from tests.support.native import shell
from tests.support.patience import until
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

MIB = 1 << 20
OOM = "/tasks/oom"
REFUSAL = r"pelagos: the guest asked for [\d.]+ MiB of memory; the container's limit is {} MiB \(.*\) \[PLG-MEMORY\]\n"


def written(directory, text):
    """A module of this text, as a file."""
    (directory / "written.wasm").write_bytes(wasmtime.wat2wasm(text))
    return directory / "written.wasm"


async def run(tmp_path, module, *args, memory=64 * MIB):
    """Run a module under a limit; its exit code and what it said on stderr."""
    bundle = limited(make_bundle(tmp_path / "c1", *args, module=module), memory={"limit": memory})
    fifos = Fifos(tmp_path)
    with contextlib.closing(fifos):
        async with running_shim(tmp_path) as shim:
            await shim.create("c1", bundle, fifos)
            await shim.start("c1")
            code = (await shim.wait("c1")).exit_status
            assert OOM not in shim.events.of("c1")
            return code, fifos.output()[1]


async def test_memory_that_is_not_touched_is_address_space(tmp_path):
    module = written(tmp_path, '(module (memory 4096) (table 20000000 funcref) (func (export "_start")))')
    assert await run(tmp_path, module) == (0, "")


async def test_memory_for_which_there_is_no_address_space_is_reported_at_create(tmp_path):
    module = written(tmp_path, '(module (memory i64 0x40000000000) (func (export "_start")))')
    with pytest.raises(
        InvalidArgument, match=r"'/app\.wasm' begins with \d+ MiB of memory: no address space for it: .*PLG-MODULE"
    ):
        await run(tmp_path, module)


async def test_a_limit_that_is_too_low_to_start_in_is_named(tmp_path, guests):
    with pytest.raises(
        Internal, match=r"killed by SIGKILL: out of memory: .* limit is too low to start in \[PLG-LOST\]"
    ):
        await run(tmp_path, guests / "hello.wasm", memory=MIB // 4)


async def test_a_refusal_is_reported_once_and_the_exit_code_is_the_guests_own(tmp_path, guests):
    code, said = await run(tmp_path, guests / "memory.wasm", "/app.wasm", "take", "500")
    assert code == 9
    assert re.fullmatch(REFUSAL.format(64), said)


async def test_several_memories_count_together(tmp_path):
    grow = "(drop (memory.grow {} (i32.const 500)))"
    text = f'(module (memory 1) (memory 1) (func (export "_start") {grow.format(0)} {grow.format(1)} {grow.format(0)}))'
    code, said = await run(tmp_path, written(tmp_path, text))
    assert code == 0
    assert re.fullmatch(REFUSAL.format(64), said)


async def test_a_component_is_refused_memory_as_well(tmp_path):
    text = """(component
      (core module $m (memory 1)
        (func (export "run") (result i32) (i32.eq (memory.grow (i32.const 2000)) (i32.const -1))))
      (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance $r (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $r)))"""
    code, said = await run(tmp_path, written(tmp_path, text))
    assert code == 1
    assert re.fullmatch(REFUSAL.format(64), said)


@pytest.mark.parametrize(("before", "after", "code"), [(64, 512, 0), (512, 64, 9)], ids=["more", "less"])
async def test_a_guest_that_runs_has_the_limit_of_an_update(tmp_path, guests, before, after, code):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "wait-take", "120", module=guests / "memory.wasm")
    limited(bundle, memory={"limit": before * MIB})
    fifos = Fifos(tmp_path, stdin=True)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        await until(lambda: "ready" in fifos.output()[0])
        await update(shim, {"memory": {"limit": after * MIB}})
        await asyncio.to_thread(say, fifos.stdin)
        ended, said = (await shim.wait("c1")).exit_status, fifos.output()[1]
        fifos.close()
        assert (ended, bool(re.fullmatch(REFUSAL.format(after), said))) == (code, bool(code)), said
        assert OOM not in shim.events.of("c1")


def say(path):
    with open(path, "wb") as file:
        file.write(b"\n")


@pytest.mark.parametrize("native", [False, True], ids=["beside a guest", "beside a native program"])
async def test_an_exec_is_refused_memory_too(tmp_path, guests, native):
    bundle = shell(tmp_path / "c1", "sleep 60") if native else make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    (bundle / "rootfs/memory.wasm").write_bytes((guests / "memory.wasm").read_bytes())
    change_config(bundle, linux={**CONFIG["linux"], "resources": {"memory": {"limit": 64 * MIB}}})
    fifos = Fifos(tmp_path)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        await shim.exec("c1", "e1", "/memory.wasm", "take", "500", fifos=fifos)
        await shim.start("c1", "e1")
        assert (await shim.wait("c1", "e1")).exit_status == 9
        assert re.fullmatch(REFUSAL.format(64), fifos.output()[1])
    fifos.close()


async def test_a_guest_in_a_user_namespace_is_refused_memory_too(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "take", "500", module=guests / "memory.wasm")
    mapped(bundle, resources={"memory": {"limit": 64 * MIB}})
    code, _, said = await run_mapped(tmp_path, bundle)
    assert code == 9
    assert re.fullmatch(REFUSAL.format(64), said)


@pytest.mark.engines
@pytest.mark.parametrize("form", ["wasmedge-program"])
async def test_an_engine_that_cannot_follow_keeps_its_limit_and_update_says_so(tmp_path, guests, form):
    config = tmp_path / "config.toml"
    config.write_text(forms.FORMS[form]().config)
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    limited(bundle, memory={"limit": 128 * MIB})
    change_config(bundle, annotations={"io.pelagos.wasm.runtime": "wasmedge"})
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(config)}) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for resources in ({"memory": {"limit": 256 * MIB}, "pids": {"limit": 60}}, {"memory": {"limit": -1}}):
            with pytest.raises(FailedPrecondition, match=r"memory\.limit: backend 'wasmedge' cannot change the limit"):
                await update(shim, resources)
        now = await stats(shim)
        assert (limit(now), now.pids.limit) != (256 * MIB, 60)
        # Kubernetes sends all there is, whatever it changes.
        await update(shim, {"memory": {"limit": 128 * MIB}, "pids": {"limit": 60}})
        now = await stats(shim)
        assert (limit(now), now.pids.limit) == (128 * MIB, 60)
