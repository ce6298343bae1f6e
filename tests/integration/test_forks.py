"""What init processes share with the process they are forks of, and what they must not."""

import pytest

from pelagos_core.conformance.environment import environment_with
from tests.support.bundles import Fifos, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root]

RANDOM = """
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random (i32.const 16) (i32.const 32)))
    (call $letters)
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 32))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $letters (local $at i32)
    (local.set $at (i32.const 16))
    (loop $next
      (i32.store8 (local.get $at)
        (i32.add (i32.const 97) (i32.and (i32.load8_u (local.get $at)) (i32.const 15))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 48))))))
"""

TELLING = """
import os, random, sys
from pelagos_core.plugin.hookspecs import Description, Detection, hookimpl

loaded = set()

@hookimpl
def pelagos_describe():
    loaded.update(sys.modules)
    return Description()

@hookimpl
def pelagos_detect(entrypoint):
    return Detection.can(99, "anything")

@hookimpl
def pelagos_spawn(bundle, entrypoint):
    imported = sorted(set(sys.modules) - loaded)
    return lambda: os.write(1, f"{random.random()} {imported}".encode()) and 0
"""


async def outputs(shim, directory, bundles):
    found = []
    for number, bundle in enumerate(bundles):
        fifos = Fifos(directory / f"f{number}")
        assert await shim.run(f"c{number}", bundle, fifos) == 0
        found.append(fifos.output()[0])
        fifos.close()
    return found


async def test_each_guest_draws_its_own_random_numbers(tmp_path):
    module = tmp_path / "random.wat"
    module.write_text(RANDOM)
    bundles = [make_bundle(tmp_path / f"c{number}", module=module) for number in range(4)]
    for number in range(4):
        (tmp_path / f"f{number}").mkdir()
    async with running_shim(tmp_path) as shim:
        drawn = await outputs(shim, tmp_path, bundles)
    assert {len(each) for each in drawn} == {32}
    assert len(set(drawn)) == 4


async def test_an_init_process_imports_nothing_and_pythons_random_numbers_are_its_own(tmp_path):
    python = environment_with(tmp_path / "venv", tells=TELLING)
    module = tmp_path / "empty.wat"
    module.write_text("(module)")
    bundles = [make_bundle(tmp_path / f"c{number}", module=module) for number in range(4)]
    for number in range(4):
        (tmp_path / f"f{number}").mkdir()
    async with running_shim(tmp_path, python=python) as shim:
        told = await outputs(shim, tmp_path, bundles)
    numbers, imported = zip(*(each.split(" ", 1) for each in told), strict=True)
    assert set(imported) == {"[]"}
    assert len(set(numbers)) == 4
